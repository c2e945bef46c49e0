import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { runHere, startServer } from '../testing/processes.ts'

const doctor = suite('cli doctor')
let path: string
// Port 1 of this machine: nobody listens there.
const nowhere = { HOST: '127.0.0.1', PORT: '1' }

doctor.before.each(async () => {
  path = await mkdtemp(join(tmpdir(), 'doctor-'))
})
doctor.after.each(() => rm(path, { recursive: true, force: true }))

const lineForm = /^(ok  |warn|FAIL) [a-z]+ +\S/

doctor('a healthy place is one line a check, exit code 0, and nothing stays in it', async () => {
  const env = { ...nowhere, BACKING_IMAGE_STORAGE_PATH: path, API_TOKEN: 'a', URL_SIGNING_KEY: 'k' }
  const { code, stdout, stderr } = await runHere(['doctor'], env)
  assert.is(code, 0, stdout + stderr)
  assert.is(stderr, '')
  const lines = stdout.trimEnd().split('\n')
  assert.ok(
    lines.every((line) => lineForm.test(line)),
    stdout,
  )
  for (const what of ['configuration', 'access', 'storage', 'clock', 'capabilities', 'server']) {
    assert.ok(
      lines.some((line) => line.startsWith(`ok   ${what} `)),
      `${what}\n${stdout}`,
    )
  }
  assert.match(stdout, 'none is running')
  assert.match(stdout, 'permissions')
  assert.match(stdout, 'space')
  assert.equal(
    (await readdir(path, { recursive: true })).filter((name) => /canary/.test(name)),
    [],
  )
})

doctor('a folder that everyone may write is a warning, not a fault', async () => {
  await chmod(path, 0o777)
  const { code, stdout } = await runHere(['doctor'], {
    ...nowhere,
    BACKING_IMAGE_STORAGE_PATH: path,
  })
  assert.is(code, 0)
  assert.match(stdout, /warn permissions .*chmod o-w/)
  assert.match(stdout, /warn access .*API_TOKEN/)
})

doctor('every fault of the configuration is a line, and the exit code is 78', async () => {
  const { code, stdout, stderr } = await runHere(['doctor'], { PORT: 'x', TRUST_PROXY: '1' })
  assert.is(code, 78)
  assert.is(stdout.match(/^FAIL configuration /gm)?.length, 2)
  assert.match(stderr, 'FAIL')
})

doctor('a storage that is missing is a fault, and is not made', async () => {
  const absent = join(path, 'absent')
  const env = { ...nowhere, BACKING_IMAGE_STORAGE_PATH: absent }
  const { code, stdout } = await runHere(['doctor'], env)
  assert.is(code, 1)
  assert.match(stdout, /FAIL storage .*absent/)
  assert.equal(await readdir(path), [])
})

doctor('a running server is asked whether it is ready', async () => {
  const server = await startServer()
  const { stdout } = await runHere(['doctor'], {
    HOST: '127.0.0.1',
    PORT: new URL(server.url).port,
    BACKING_IMAGE_STORAGE_PATH: server.path,
  })
  await server.stop()
  assert.match(stdout, /ok   server .*is running and ready/)
})

doctor('a certificate that is none is a fault of the configuration', async () => {
  const { pathname } = new URL(import.meta.url)
  const { code, stdout } = await runHere(['doctor'], {
    ...nowhere,
    BACKING_IMAGE_STORAGE_PATH: path,
    TLS_CERT_FILE: pathname,
    TLS_KEY_FILE: pathname,
  })
  assert.is(code, 78)
  assert.match(stdout, /FAIL configuration +TLS_CERT_FILE/)
})

doctor.run()
