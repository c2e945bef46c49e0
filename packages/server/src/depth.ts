// How deep and how large a document may be, found out before it is parsed: parsers call themselves
// once per level, and a stack that is used up within a regular expression ends the process.

import { Lexer, Parser } from 'yaml'
import { invalid } from './problem.ts'

/** A manifest has about five. */
const depthMax = 64
/** Each becomes objects many times its size. */
const yamlPiecesMax = 100_000

/** Throws `invalid_request` where arrays and objects lie over 64 deep. Need not be JSON. */
export function assertFlatJson(text: string): void {
  let depth = 0
  let isQuoted = false
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at]
    if (character === '"') isQuoted = !isQuoted
    else if (isQuoted) at += character === '\\' ? 1 : 0
    else if (character === '[' || character === '{') depth += 1
    else if (character === ']' || character === '}') depth -= 1
    if (depth > depthMax) throw tooDeep()
  }
}

/**
 * The same for YAML, where a level may also be an indentation, "- " or "? ". Only what does not call
 * itself is used of the parser, one piece at a time, and no further than the limits.
 */
export function assertFlatYaml(text: string): void {
  const parser = new Parser()
  let pieces = 0
  for (const piece of new Lexer().lex(text)) {
    pieces += 1
    if (pieces > yamlPiecesMax) throw invalid(`The YAML has over ${yamlPiecesMax} pieces.`)
    // What it has finished is looked at later, by the parser proper.
    Array.from(parser.next(piece))
    // The document and a scalar lie on the stack too.
    if (parser.stack.length > depthMax + 2) throw tooDeep()
  }
}

function tooDeep(): Error {
  return invalid(`The document is nested over ${depthMax} levels deep.`)
}
