// What is shown of a URL holds no secret.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { redactUrl } from './redact.ts'

const tests = suite('redact')

tests('values, users and fragments go; names of the query stay', () => {
  for (const [url, shown] of [
    ['https://example.org/a.img', 'https://example.org/a.img'],
    ['HTTPS://Example.org:443', 'https://example.org/'],
    ['http://example.org:8080/a?b=c', 'http://example.org:8080/a?b=REDACTED'],
    [
      'http://h/?X-Amz-Signature=s&b=&c=d=e',
      'http://h/?X-Amz-Signature=REDACTED&b=REDACTED&c=REDACTED',
    ],
    ['http://h/?token', 'http://h/?REDACTED'],
    ['http://h/?', 'http://h/'],
    ['http://h/?&a=b&', 'http://h/?&a=REDACTED&'],
    ['http://h/?a=b;c=d', 'http://h/?a=REDACTED'],
    ['http://user:secret@h/a', 'http://h/a'],
    ['http://secret@[::1]:80/a', 'http://[::1]/a'],
    ['http://h/a#secret', 'http://h/a'],
    ['http://h/a?b=c#secret?d=e', 'http://h/a?b=REDACTED'],
    ['data:text/plain,secret', 'data:REDACTED'],
    ['ftp://user:secret@h/a', 'ftp:REDACTED'],
    ['/a?b=secret', 'REDACTED'],
    ['http://secret:x', 'REDACTED'],
    ['', 'REDACTED'],
  ] as const) {
    assert.is(redactUrl(url), shown, url)
    assert.not.match(redactUrl(url), 'secret')
  }
})

tests.run()
