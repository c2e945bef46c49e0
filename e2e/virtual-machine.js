// A virtual machine that boots a disk, and what is on its screen.

import { existsSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { startProcess, until } from './machine.js'

/** The text screen of a PC: 25 lines of 80 characters, each with a byte for its colour. */
const textScreen = { val: 0xb8000, size: 80 * 25 * 2 }

/**
 * Boots the CD `image` (a file or a URL) and waits until the text is on the screen. Resolves to how
 * many colours the screen then shows. `folder` takes the files that this needs.
 */
export async function bootUntil(text, image, folder) {
  const socketPath = join(folder, 'qmp.sock')
  // Of a machine that was killed: it would refuse us before the new one listens.
  rmSync(socketPath, { force: true })
  const computer = ['-m', '128', '-nodefaults', '-vga', 'std', '-display', 'none']
  const disk = ['-drive', `file=${image},format=raw,media=cdrom,readonly=on`, '-boot', 'd']
  const control = ['-qmp', `unix:${socketPath},server=on,wait=off`]
  const machine = startProcess('qemu-system-x86_64', [...computer, ...disk, ...control])
  let complaint = ''
  machine.stderr.on('data', (chunk) => (complaint += chunk))
  let hasEnded = false
  const ended = new Promise((resolve) => {
    for (const event of ['error', 'exit']) machine.on(event, resolve)
  }).then((reason) => {
    hasEnded = true
    complaint += reason
  })
  let monitor
  try {
    await until('the monitor', () => existsSync(socketPath) || hasEnded)
    if (hasEnded) throw new Error(`qemu has ended: ${complaint}`)
    monitor = await openMonitor(socketPath)
    const screen = join(folder, 'screen')
    await until(`"${text}" on the screen of ${image}`, async () => {
      await monitor.ask('pmemsave', { ...textScreen, filename: screen })
      const characters = readFileSync(screen).filter((_, index) => index % 2 === 0)
      return Buffer.from(characters).toString('latin1').includes(text)
    })
    await monitor.ask('screendump', { filename: screen })
    return countColours(readFileSync(screen))
  } finally {
    monitor?.close()
    machine.kill('SIGKILL')
    await ended
  }
}

/** QEMU's machine protocol: a JSON text a line, an answer for each command, events in between. */
async function openMonitor(path) {
  const socket = connect(path)
  const answers = createInterface({ input: socket })[Symbol.asyncIterator]()
  const next = async () => {
    const { value, done } = await answers.next()
    if (done) throw new Error('qemu has closed its monitor.')
    return JSON.parse(value)
  }
  const ask = async (execute, args) => {
    socket.write(`${JSON.stringify({ execute, arguments: args })}\n`)
    for (;;) {
      const answer = await next()
      if (answer.error) throw new Error(`${execute}: ${answer.error.desc}`)
      if (answer.return) return answer.return
    }
  }
  await next()
  await ask('qmp_capabilities')
  return { ask, close: () => socket.destroy() }
}

/** How many colours a picture in the PPM format (P6) has. */
function countColours(picture) {
  const [header] = /^P6\s+\d+\s+\d+\s+255\s/.exec(picture.toString('latin1', 0, 40)) ?? []
  if (header === undefined) throw new Error('The screen dump is no picture.')
  const colours = new Set()
  for (let at = header.length; at < picture.length; at += 3) colours.add(picture.readUIntBE(at, 3))
  return colours.size
}
