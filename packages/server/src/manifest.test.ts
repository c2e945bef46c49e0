import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { parseDocument, readRequest } from './manifest.ts'
import { askJson, serving } from './testing/serving.ts'
import { readOptions } from './upload-options.ts'

const manifest = suite('manifest')

const longhorn = `apiVersion: longhorn.io/v1beta2
kind: BackingImage
metadata:
  name: ubuntu
  namespace: longhorn-system
  labels:
    os: linux
spec:
  sourceType: download
  sourceParameters:
    url: https://example.com/u.img
  checksum: ""
  minNumberOfCopies: 2
  nodeSelector: [ssd]
`

manifest('a manifest of Longhorn and our own form say the same', () => {
  const ours = {
    name: 'ubuntu',
    sourceType: 'download',
    parameters: { url: 'https://example.com/u.img' },
    labels: { os: 'linux' },
    minNumberOfCopies: 2,
    nodeSelector: ['ssd'],
  }
  const fromManifest = readRequest(parseDocument(longhorn, 'application/yaml'))
  const fromJson = readRequest(parseDocument(JSON.stringify(ours), 'application/json'))
  assert.equal(fromManifest, fromJson)
  assert.equal(fromJson, { ...ours, dataEngine: 'v1', diskSelector: [] })
})

manifest('where only texts are possible the credential is the name of the secret', () => {
  const { parameters } = readRequest(
    parseDocument(longhorn.replace('u.img', 'u.img\n    credential: mirror'), 'text/yaml'),
  )
  assert.equal(parameters['credential'], { secretRef: 'mirror' })
})

manifest('every fault of a document is named with its place', () => {
  for (const [change, expected] of [
    [['  checksum: ""', '  checksums: ""'], /checksums/],
    [['minNumberOfCopies: 2', 'minNumberOfCopies: many'], /spec\.minNumberOfCopies/],
    [['kind: BackingImage', 'kind: Volume'], /kind/],
    [['v1beta2', 'v1beta1'], /apiVersion/],
    [['name: ubuntu', 'name: 7'], /metadata\.name/],
    [['name: ubuntu', 'name: ..'], /no image name/],
    [['checksum: ""', 'checksum: abc'], /sha512/],
    [['os: linux', '"": linux'], /label/],
  ] as const) {
    const text = longhorn.replace(change[0], change[1])
    assert.throws(() => readRequest(parseDocument(text, 'application/yaml')), expected)
  }
})

manifest('a key that no label may have is refused in the same words in every form', () => {
  for (const [key, quoted] of [
    ['__proto__', '"__proto__"'],
    ['a=b', '"a=b"'],
    ['-a', '"-a"'],
  ] as const) {
    const label = `${key}=linux`
    const expected = `label is ${JSON.stringify(label)}; key=value is expected`
    const json = `{"name":"ubuntu","sourceType":"download","labels":{${quoted}:"linux"}}`
    const yaml = longhorn.replace('os:', `${quoted}:`)
    assert.throws(() => readRequest(parseDocument(json, 'application/json')), expected)
    assert.throws(() => readRequest(parseDocument(yaml, 'application/yaml')), expected)
    if (key !== 'a=b') assert.throws(() => readOptions({ label: [label] }), expected)
  }
  const json = '{"name":"ubuntu","sourceType":"download","parameters":{"__proto__":"x"}}'
  const yaml = longhorn.replace('    url:', '    __proto__: x\n    url:')
  for (const [text, type, where] of [
    [json, 'application/json', 'parameters: "__proto__" is no key here'],
    [yaml, 'application/yaml', 'spec.sourceParameters: "__proto__" is no key here'],
  ] as const) {
    assert.throws(() => readRequest(parseDocument(text, type)), where)
  }
})

manifest('YAML that is several documents, aliased or broken is refused', () => {
  const bomb = `a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n`
  for (const [text, expected] of [
    ['', /one YAML document/],
    [`${longhorn}---\n${longhorn}`, /one YAML document/],
    [bomb, /alias/],
    ['a: [', /no YAML/],
    ['a: 1\na: 2\n', /no YAML/],
    ['\t- x', /no YAML/],
  ] as const) {
    assert.throws(() => parseDocument(text, 'text/yaml'), expected, text.slice(0, 20))
  }
  assert.throws(() => parseDocument('{', 'application/json'), /no JSON/)
})

manifest(
  'over HTTP: an upload is told the curl line, others what is known; nothing is stored',
  async () => {
    const server = await serving()
    const post = (body: string, type = 'application/json') =>
      askJson(server, 'POST', '/v1/backing-images', { body, headers: { 'content-type': type } })
    const upload = await post('{"name":"ubuntu","version":"7","sourceType":"upload"}')
    assert.is(upload.status, 400)
    const detail = upload.json.detail
    assert.ok(
      detail.includes(`curl -T FILE '${server.url}/v1/backing-images/ubuntu?version=7'`),
      detail,
    )
    const restore = await post('{"name":"ubuntu","sourceType":"restore"}')
    assert.is(restore.status, 400)
    assert.match(restore.json.detail, /not available.*download, upload, .*available: download/)
    const unknown = await post('{"name":"ubuntu","sourceType":"magic"}')
    assert.match(unknown.json.detail, /"magic" is not known/)
    const large = await post(`"${'x'.repeat(1024 * 1024)}"`)
    assert.is(large.status, 413)
    assert.is(large.json.code, 'too_large')
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/mixed']) {
      const wrong = await post('x', type)
      assert.is(wrong.status, 415, type)
      assert.match(wrong.json.detail, /curl -T FILE/)
    }
    assert.equal(await server.keys(), [])
    await server.close()
  },
)

const most = 1024 * 1024 - 100
const nests: Record<string, (depth: number) => string> = {
  '[': (depth) => '['.repeat(depth),
  '[]': (depth) => '['.repeat(depth) + ']'.repeat(depth),
  '{a:': (depth) => '{a: '.repeat(depth),
  '- ': (depth) => '- '.repeat(depth),
  '? ': (depth) => '? '.repeat(depth),
  'a: ': (depth) => 'a: '.repeat(depth),
  '- [': (depth) => '- '.repeat(depth / 2) + '['.repeat(depth / 2),
  '- ? ': (depth) => '- ? '.repeat(depth),
  'a document before': (depth) => `a: 1\n---\n${'['.repeat(depth)}`,
  'a quote that is none': (depth) => `a: it's \nb: ${'['.repeat(depth)}`,
}
/** As deep as 1 MiB lets it be. */
const indented = (line: string) => (depth: number) => {
  const levels = Math.min(depth, 1400)
  return Array.from({ length: levels }, (_, level) => ' '.repeat(level) + line).join('\n')
}
nests['indented keys'] = indented('a:')
nests['indented keys and lists'] = (depth) =>
  Array.from({ length: Math.min(depth, 700) }, (_, level) => {
    const indentation = ' '.repeat(level * 2)
    return level === 0 ? 'a:' : `${indentation.slice(2)}- a:`
  }).join('\n')

manifest('YAML nested deeper than 64 levels is refused, and at once', async () => {
  const server = await serving()
  const headers = { 'content-type': 'application/yaml' }
  for (const [what, nest] of Object.entries(nests)) {
    for (const depth of [100, 3000, 10_000, 100_000]) {
      const body = nest(depth).slice(0, most)
      const begin = Date.now()
      const { status, json } = await askJson(server, 'POST', '/v1/backing-images', {
        body,
        headers,
      })
      const took = Date.now() - begin
      assert.is(status, 400, `${what} ${depth}`)
      assert.match(json.detail, /nested over 64 levels/, `${what} ${depth}`)
      assert.ok(took < 1000, `${what} ${depth} took ${took} ms`)
    }
  }
  assert.equal(await server.keys(), [])
  await server.close()
})

manifest('JSON nested deeper than 64 levels is refused; brackets in its text do not count', () => {
  const parse = (text: string) => parseDocument(text, 'application/json')
  for (const depth of [100, 3000, 10_000, 100_000]) {
    assert.throws(() => parse('['.repeat(depth) + ']'.repeat(depth)), /nested over 64/)
    assert.throws(() => parse(`{"\\"":${'{"a":'.repeat(depth)}`), /nested over 64/)
  }
  const flat = [`${'['.repeat(500)}"\\`, [['{'.repeat(500)]]]
  assert.equal(parse(JSON.stringify(flat)), flat)
  assert.equal(parse('['.repeat(64) + ']'.repeat(64)), JSON.parse('['.repeat(64) + ']'.repeat(64)))
})

manifest(
  'YAML that is flat may have any text, and 1 MiB of small pieces is refused at once',
  () => {
    const parse = (text: string) => parseDocument(text, 'application/yaml')
    const deep = '[{-? '.repeat(500)
    assert.equal(parse(`a: "${deep}"\nb: '${deep}'\nc: |\n  ${deep}\n# ${deep}`), {
      a: deep,
      b: deep,
      c: `${deep}\n`,
    })
    assert.is(JSON.stringify(parse('['.repeat(60) + ']'.repeat(60))).length, 120)
    for (const piece of ['-\n', '[],', 'a: 1\n', ',', '&a ', '\n', '---\n', '%a\n', '!']) {
      const begin = Date.now()
      assert.throws(() => parse(piece.repeat(most / piece.length)), 'The', JSON.stringify(piece))
      const took = Date.now() - begin
      assert.ok(took < 3000, `${JSON.stringify(piece)} took ${took} ms`)
    }
  },
)

manifest.run()
