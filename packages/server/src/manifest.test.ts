import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { parseDocument, readRequest } from './manifest.ts'
import { askJson, serving } from './testing/serving.ts'

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
    const download = await post(longhorn, 'application/yaml')
    assert.is(download.status, 400)
    assert.match(download.json.detail, /not available.*download, upload, export-from-volume/)
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

manifest.run()
