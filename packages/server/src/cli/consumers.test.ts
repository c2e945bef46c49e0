// The commands for those who use images, against a real server.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { type Ended, type RunningServer, runHere, startServer } from '../testing/processes.ts'

const commands = suite('cli consumers')
let server: RunningServer
let folder: string

commands.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-'))
  await writeFile(join(folder, 'disk.img'), Buffer.alloc(4096, 'some image '))
  server = await startServer({ PUBLIC_URL: 'https://images.example.org' })
  assert.is((await ask('upload', 'debian', join(folder, 'disk.img'))).code, 0)
})

commands.after(async () => {
  await server?.stop()
  await rm(folder, { recursive: true })
})

function ask(...args: string[]): Promise<Ended> {
  return askWith('', ...args)
}

function askWith(input: string, ...args: string[]): Promise<Ended> {
  return runHere(['backing-image', '--url', server.url, ...args], {}, input)
}

commands('manifest prints what the server wrote, ready for kubectl', async () => {
  const usual = await ask('manifest', 'debian')
  assert.is(usual.code, 0, usual.stderr)
  const direct = await fetch(`${server.url}/v1/backing-images/debian/manifest`)
  assert.is(usual.stdout, await direct.text())
  const { stdout } = await ask(
    'manifest',
    '--name=debian',
    '--kind=PersistentVolumeClaim',
    '--version=1',
    '--namespace=machines',
  )
  const { kind, metadata } = parse(stdout)
  assert.equal(
    [kind, metadata],
    ['PersistentVolumeClaim', { name: 'debian', namespace: 'machines' }],
  )
  const backup = 's3://backups@us-east-1/?backup=backup-1a2b&volume=disk'
  const restored = await ask('manifest', 'debian', '--kind', 'Volume', '--from-backup', backup)
  assert.is(parse(restored.stdout).spec.fromBackup, backup)
})

commands('manifest: what can not be is refused, and nothing is printed to be applied', async () => {
  const faults: [number, RegExp, string[]][] = [
    [2, /Allowed choices are BackingImage, /, ['debian', '--kind', 'Pod']],
    [2, /--kind Volume/, ['debian', '--from-backup', 's3://x']],
    [2, /Which image/, []],
    [1, /version 7/, ['debian', '--version', '7']],
    [1, /namespace/, ['debian', '--namespace', '-']],
  ]
  for (const [code, words, args] of faults) {
    const ended = await ask('manifest', ...args)
    assert.equal([ended.code, ended.stdout], [code, ''])
    assert.match(ended.stderr, words)
  }
})

commands('check: a StorageClass of ours is valid, from a file, stdin and as JSON', async () => {
  const { stdout } = await ask('manifest', 'debian', '--kind', 'StorageClass')
  const file = join(folder, 'class.yaml')
  await writeFile(file, stdout)
  const fromFile = await ask('check', '-f', file)
  assert.equal(fromFile, { code: 0, stdout: 'The StorageClass is valid.\n', stderr: '' })
  const withTabs = JSON.stringify(parse(stdout), null, '\t')
  const piped = await askWith(withTabs, 'check', '-f', '-', '-o', 'json')
  assert.equal([piped.code, JSON.parse(piped.stdout)], [0, { valid: true, problems: [] }])
})

commands('check: every problem is shown, and the exit code is 1', async () => {
  const { stdout } = await ask('manifest', 'debian', '--kind', 'StorageClass')
  const wrong = stdout
    .replace(/backingImageChecksum: .*/, `backingImageChecksum: ${'f'.repeat(128)}`)
    .replace('driver.longhorn.io', 'other.example.org')
  const { code, stdout: told, stderr } = await askWith(wrong, 'check', '-f', '-')
  assert.is(code, 1)
  assert.match(told, /^provisioner\n  expected  driver\.longhorn\.io\n  actual    other\.example/)
  assert.match(told, /\nparameters\.backingImageChecksum\n  expected  [0-9a-f]{128}\n/)
  assert.is(stderr, 'backing-image-manager: The StorageClass has 2 problems.\n')
  const json = await askWith(wrong, 'check', '-f', '-', '-o', 'json')
  assert.equal([json.code, JSON.parse(json.stdout).problems.length], [1, 2])
})

commands('check: what is no document, or not there, is told in a line', async () => {
  assert.match((await ask('check', '-f', join(folder, 'absent'))).stderr, /can not be read/)
  assert.match((await askWith('{', 'check', '-f', '-')).stderr, /The body is no JSON/)
  assert.match((await askWith('a: *b', 'check', '-f', '-')).stderr, /no YAML|alias/)
  assert.is((await ask('check')).code, 2)
})

commands('preflight: what fits and why; 1 only for a consumer that was named', async () => {
  const all = await ask('preflight', 'debian', '-o', 'table')
  assert.is(all.code, 0, all.stderr)
  assert.match(all.stdout, /^CONSUMER +FITS +RENDITION +WHY\nlonghorn-v1 +yes +stored/)
  assert.match(all.stdout, /\nlonghorn-v2 +no +stored +Longhorn 1\.12/)
  const json = await ask('preflight', 'debian', '--version', '1')
  assert.equal([json.code, JSON.parse(json.stdout).data.length], [0, 4])
  const right = await ask('preflight', 'debian', '--consumer', 'cdi', '-o', 'yaml')
  assert.equal([right.code, parse(right.stdout).data.length], [0, 1])
  const wrong = await ask('preflight', 'debian', '--consumer', 'longhorn-v2')
  assert.is(wrong.code, 1)
  assert.match(wrong.stderr, /debian does not fit longhorn-v2: Longhorn 1\.12/)
  assert.is((await ask('preflight', 'debian', '--consumer', 'docker')).code, 2)
})

commands('the help of each shows how it is called', async () => {
  for (const name of ['manifest', 'preflight', 'check', 'import', 'cleanup', 'delete']) {
    const { code, stdout } = await ask(name, '--help')
    assert.is(code, 0)
    assert.match(stdout, `$ backing-image-manager backing-image ${name} `)
  }
})

commands.run()
