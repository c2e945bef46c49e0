// Who is dead: a killed process is, a living or stopped one is not, and a doubt is no proof.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { LocalBackend } from './index.ts'
import { temporaries, withFolder } from './testing/index.ts'

const owners = suite('local: owners')
const script = join(import.meta.dirname, 'testing', 'living.js')

interface Living {
  owner: string
  kill: (signal: NodeJS.Signals) => Promise<void>
}

/** Another process over `root` with a put under way. */
async function start(root: string): Promise<Living> {
  const child: ChildProcess = fork(script, [root], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  assert.ok(child.stdout)
  const told = once(child.stdout as NodeJS.ReadableStream, 'data')
  await Promise.race([told, exited.then(() => assert.unreachable('it ended at once'))])
  const text = String((await told)[0])
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal)
    if (signal === 'SIGKILL') await exited
  }
  return { owner: text.trim(), kill }
}

async function withLocal(
  options: { provesDeath?: boolean },
  test: (backend: LocalBackend, root: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (root) => {
    const backend = await LocalBackend.open({ root, ...options })
    try {
      await test(backend, root)
    } finally {
      await backend.close()
    }
  })
}

owners('a killed process is gone and swept, a stopped one is not', () =>
  withLocal({}, async (backend, root) => {
    const [killed, stopped] = await Promise.all([start(root), start(root)])
    try {
      const unfinished: string[] = []
      for await (const put of backend.unfinished()) {
        assert.is(put.key, 'living/backing')
        unfinished.push(put.owner ?? '')
      }
      assert.equal(unfinished.toSorted(), [killed.owner, stopped.owner].toSorted())
      assert.not.ok(await backend.isGone(killed.owner), 'a living process is not gone')
      await killed.kill('SIGKILL')
      await stopped.kill('SIGSTOP')
      assert.ok(await backend.isGone(killed.owner))
      for (let round = 0; round < 5; round += 1) {
        assert.not.ok(await backend.isGone(stopped.owner), 'a stopped process is not gone')
      }
      assert.equal((await temporaries(root)).length, 2, 'nobody sweeps unasked')
      // A start sweeps what the dead have left.
      const later = await LocalBackend.open({ root })
      const left: (string | undefined)[] = []
      for await (const put of later.unfinished()) left.push(put.owner)
      assert.equal(left, [stopped.owner])
      assert.not.ok((await readdir(join(root, '.tmp'))).includes(killed.owner))
      assert.ok(await backend.isGone(killed.owner), 'swept is gone too')
      await later.close()
    } finally {
      await stopped.kill('SIGKILL')
      await killed.kill('SIGKILL').catch(() => {})
    }
    await backend.sweepDead()
    assert.equal(await temporaries(root), [])
    assert.equal(
      (await readdir(join(root, '.tmp'))).toSorted(),
      [backend.owner, 'ballast'].toSorted(),
    )
  }),
)

owners('a doubt is no proof', () =>
  withLocal({}, async (backend, root) => {
    const boot = backend.owner.slice(0, 8)
    const otherBoot = boot === '00000000' ? '11111111' : '00000000'
    const folder = join(root, '.tmp')
    assert.not.ok(await backend.isGone(backend.owner), 'itself')
    assert.not.ok(await backend.isGone(`${otherBoot}-01234567`), 'another kernel')
    for (const owner of ['', 'x', '..', '../..', `${boot}-0123456`, `${boot}-01234567/x`]) {
      assert.not.ok(await backend.isGone(owner), JSON.stringify(owner))
    }
    await mkdir(join(folder, `${boot}-00000001`))
    assert.not.ok(await backend.isGone(`${boot}-00000001`), 'a folder without a socket')
    await mkdir(join(folder, `${boot}-00000002`))
    await writeFile(join(folder, `${boot}-00000002`, 'alive'), '')
    assert.not.ok(await backend.isGone(`${boot}-00000002`), 'a file in place of the socket')
    assert.ok(await backend.isGone(`${boot}-00000003`), 'swept entirely')
    await backend.sweepDead()
    assert.equal((await readdir(folder)).length, 4)
    await rm(folder, { recursive: true })
    assert.not.ok(await backend.isGone(`${boot}-00000003`), 'the medium itself is missing')
  }),
)

owners('where a socket proves nothing, nobody is gone and nothing is swept', () =>
  withLocal({ provesDeath: false }, async (backend, root) => {
    const killed = await start(root)
    await killed.kill('SIGKILL')
    assert.not.ok(await backend.isGone(killed.owner))
    await backend.sweepDead()
    assert.equal((await temporaries(root)).length, 1)
    assert.equal(await readdir(join(root, '.tmp', backend.owner)), [], 'no socket of its own')
  }),
)

owners('a root with a long path has its socket too', () =>
  withFolder(async (folder) => {
    const root = join(folder, 'a'.repeat(100), 'b'.repeat(100))
    await mkdir(root, { recursive: true })
    const backend = await LocalBackend.open({ root })
    const killed = await start(root)
    assert.not.ok(await backend.isGone(killed.owner))
    await killed.kill('SIGKILL')
    assert.ok(await backend.isGone(killed.owner))
    await backend.close()
  }),
)

owners.run()
