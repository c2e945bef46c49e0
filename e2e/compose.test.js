// The compose files: what they ask for, and that the server takes the environment that they give it.
// There is no Docker here; e2e/container.test.js runs the image as they say.
//
//   node scripts/test.js e2e/compose.test.js

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readConfig, variableNames } from '../packages/server/dist/config.js'
import { environmentOf, filledIn, readCompose } from './compose.js'
import { root } from './machine.js'

const name = 'backing-image-manager'
const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')

const test = suite('the compose files')

test('compose.yaml asks for what the server needs', () => {
  const { services, volumes } = readCompose()
  const service = services[name]
  assert.equal(Object.keys(services), [name])
  assert.is(service.build, '.')
  assert.equal(service.ports, ['${PORT:-8080}:8080'])
  assert.equal(service.volumes, ['images:/var/lib/longhorn/backing-images'])
  assert.ok('images' in volumes)
  assert.is(service.environment.LOG_LEVEL, '${LOG_LEVEL:-info}')
  assert.is(service.restart, 'unless-stopped')
  const [, command] = /^HEALTHCHECK .*\\\n +CMD (\[.*\])$/m.exec(dockerfile)
  assert.equal(service.healthcheck.test, ['CMD', ...JSON.parse(command)])
  const seconds = (text) => Number(/^(\d+)s$/.exec(text)[1])
  const grace = seconds(service.environment.SHUTDOWN_GRACE_PERIOD)
  assert.ok(seconds(service.stop_grace_period) > grace + 5)
})

for (const [type, required] of Object.entries({
  s3: ['S3_ENDPOINT', 'S3_ACCESS_KEY', 'S3_SECRET_KEY', 'S3_BUCKET'],
  nfs: ['NFS_SERVER', 'NFS_EXPORT'],
})) {
  test(`compose.${type}.yaml asks for what it needs, and is as closed as compose.yaml`, () => {
    const { services, volumes } = readCompose(`compose.${type}.yaml`)
    const service = services[name]
    const usual = readCompose().services[name]
    const same = ['build', 'image', 'ports', 'restart', 'healthcheck', 'stop_grace_period']
    for (const field of [...same, 'read_only', 'tmpfs', 'security_opt', 'cap_drop']) {
      assert.equal(service[field], usual[field], field)
    }
    assert.is(service.cap_add, undefined)
    assert.is(service.user, '1000:1000')
    for (const variable of Object.keys(service.environment)) {
      assert.ok(variableNames.includes(variable), variable)
    }
    const given = { NFS_SERVER: 'nfs.example.com', NFS_EXPORT: '/srv/images' }
    Object.assign(given, { S3_ENDPOINT: 'https://s3.example.com', S3_BUCKET: 'images' })
    Object.assign(given, { S3_ACCESS_KEY: 'key', S3_SECRET_KEY: 'secret' })
    const fill = (env) => {
      for (const text of Object.values(volumes?.images.driver_opts ?? {})) filledIn(text, env)
      return readConfig(environmentOf(service, env))
    }
    assert.is(fill(given).storage.type, type)
    for (const variable of required) {
      assert.throws(() => fill({ ...given, [variable]: '' }), new RegExp(`^${variable}: \\w+`))
    }
  })
}

test.run()
