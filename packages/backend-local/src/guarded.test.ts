// What calls that were left leave behind: files are closed, and none under a call.

import { constants } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, failure, withGuard } from './testing/guarding.ts'
import { openFiles } from './testing/index.ts'

const guarding = suite('local: files behind a guard')

const readFlags = constants.O_RDONLY

guarding(
  'a file that is opened too late is closed, and none is closed under a call',
  withGuard({}, async ({ root, hanging, guard, disk }) => {
    await writeFile(join(root, 'file'), 'text')
    const file = await disk.open(join(root, 'file'), readFlags)
    hanging.hang()
    const into = Buffer.alloc(4)
    const [read, open] = await Promise.all([
      failure(file.read(into, 0)),
      failure(disk.open(join(root, 'file'), readFlags)),
    ])
    assert.equal([read.code, open.code], ['unavailable', 'unavailable'])
    assert.ok(file.returning)
    await file.close()
    assert.is(hanging.count('close'), 0)
    assert.is((await openFiles(root)).length, 1)
    hanging.release()
    await eventually('closed', async () => (await openFiles(root)).length === 0)
    assert.is(into.toString(), 'text')
    assert.is(file.returning, undefined)
    await eventually('well', () => guard.outage === undefined)
    // Twice by the guard, once by its probe.
    assert.is(hanging.count('close'), 3)
  }),
)

guarding(
  'a file that can not be closed during an outage is closed after it',
  withGuard({}, async ({ root, hanging, disk }) => {
    await writeFile(join(root, 'file'), 'text')
    const file = await disk.open(join(root, 'file'), readFlags)
    hanging.hang()
    await failure(disk.lstat(root))
    assert.is((await failure(file.close())).code, 'unavailable')
    assert.is((await openFiles(root)).length, 1)
    hanging.release()
    await eventually('closed', async () => (await openFiles(root)).length === 0)
  }),
)

guarding.run()
