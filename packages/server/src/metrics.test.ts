import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { rawImage } from '@backing-image/core/testing'
import { ask, put, serving } from './testing/serving.ts'

const metrics = suite('metrics')

metrics('bytes, durations, states and errors are counted, and no path is a label', async () => {
  const own = await serving()
  await put(own, 'ubuntu', rawImage(4096))
  await ask(own, 'GET', '/v1/backing-images/ubuntu/download')
  await ask(own, 'GET', '/v1/backing-images/ubuntu/download', { headers: { range: 'bytes=0-99' } })
  await ask(own, 'GET', '/v1/backing-images/absent')
  await ask(own, 'GET', '/files/a-12345678/secret/b')
  const { status, text, headers } = await ask(own, 'GET', '/metrics')
  assert.is(status, 200)
  assert.match(headers['content-type'] ?? '', /^text\/plain/)
  for (const line of [
    'ingest_bytes_total{source_type="upload"} 4096',
    'ingest_duration_seconds_count{source_type="upload",state="ready"} 1',
    'served_bytes_total 4196',
    'images{state="ready"} 1',
    'errors_total{code="not_found"} 1',
    'errors_total{code="forbidden"} 1',
    'http_request_duration_seconds_count{method="GET",route="/v1/backing-images/:name/download",status="206"} 1',
    'http_request_duration_seconds_count{method="GET",route="/v1/backing-images/:name",status="404"} 1',
  ]) {
    assert.ok(text.includes(`backing_image_manager_${line}\n`), line)
  }
  assert.match(text, /nodejs_eventloop_lag/)
  assert.not.match(text, /secret|absent/)
  await own.close()
})

metrics('storage that hangs does not keep the metrics from being told', async () => {
  const own = await serving()
  await put(own, 'ubuntu', rawImage(4096))
  let release = () => {}
  const released = new Promise<void>((resolve) => (release = resolve))
  own.backend.before = () => released
  // The list of names is kept for 5 s.
  await new Promise((resolve) => setTimeout(resolve, 5_500))
  for (let count = 0; count < 3; count++) {
    const startedAtMs = performance.now()
    const { status, text } = await ask(own, 'GET', '/metrics')
    assert.is(status, 200)
    assert.match(text, /nodejs_eventloop_lag/)
    assert.ok(performance.now() - startedAtMs < 3_000)
  }
  own.backend.before = undefined
  release()
  await own.close()
})

metrics.run()
