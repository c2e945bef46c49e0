// What a request asks for, and what the fake server has seen of it.

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'

export type Operation =
  | 'HeadBucket'
  | 'ListObjectsV2'
  | 'ListMultipartUploads'
  | 'PutObject'
  | 'GetObject'
  | 'HeadObject'
  | 'DeleteObject'
  | 'CreateMultipartUpload'
  | 'UploadPart'
  | 'UploadPartCopy'
  | 'CompleteMultipartUpload'
  | 'AbortMultipartUpload'
  | 'ListParts'
  | 'Unknown'

/** One request, from its head on. */
export interface Seen {
  operation: Operation
  method: string
  bucket: string
  /** Empty where the bucket itself is asked. */
  key: string
  query: URLSearchParams
  headers: IncomingHttpHeaders
  /** Bytes of the body that have come. */
  bodyBytes: number
  /** The answer's status, once it was begun. */
  status: number | undefined
  /** How it ended: answered, cut by a fault, or left by the client; undefined while it is open. */
  end: 'answered' | 'cut' | 'left' | undefined
}

function objectOperation(method: string, query: URLSearchParams, isCopy: boolean): Operation {
  const isPart = query.has('uploadId')
  switch (method) {
    case 'HEAD':
      return 'HeadObject'
    case 'GET':
      return isPart ? 'ListParts' : 'GetObject'
    case 'DELETE':
      return isPart ? 'AbortMultipartUpload' : 'DeleteObject'
    case 'POST':
      if (isPart) return 'CompleteMultipartUpload'
      return query.has('uploads') ? 'CreateMultipartUpload' : 'Unknown'
    case 'PUT':
      if (isPart) return isCopy ? 'UploadPartCopy' : 'UploadPart'
      return isCopy ? 'Unknown' : 'PutObject'
    default:
      return 'Unknown'
  }
}

function bucketOperation(method: string, query: URLSearchParams): Operation {
  if (method === 'HEAD') return 'HeadBucket'
  if (method !== 'GET') return 'Unknown'
  if (query.has('uploads')) return 'ListMultipartUploads'
  return query.get('list-type') === '2' ? 'ListObjectsV2' : 'Unknown'
}

export function seenOf({ method = 'GET', url = '/', headers }: IncomingMessage): Seen {
  const { pathname, searchParams: query } = new URL(url, 'http://fake')
  const [, bucket = '', path = ''] = /^\/([^/]*)\/?(.*)$/.exec(pathname) ?? []
  const key = decodeURIComponent(path)
  const operation =
    key === ''
      ? bucketOperation(method, query)
      : objectOperation(method, query, headers['x-amz-copy-source'] !== undefined)
  const open = { bodyBytes: 0, status: undefined, end: undefined }
  return { operation, method, bucket, key, query, headers, ...open }
}
