// The little XML that an S3 server speaks.

const escapes: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
}

/** An element with a text. */
export function field(name: string, value: string | number | boolean): string {
  const text = String(value).replaceAll(/[&<>"]/g, (each) => escapes[each] ?? each)
  return `<${name}>${text}</${name}>`
}

/** An element with elements. */
export function element(name: string, ...children: string[]): string {
  return `<${name}>${children.join('')}</${name}>`
}

export function xmlDocument(name: string, ...children: string[]): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${element(name, ...children)}`
}

/** The parts that the body of a CompleteMultipartUpload names. */
export function parsePartList(body: string): { partNumber: number; etag: string }[] {
  return [...body.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = '']) => ({
    partNumber: Number(/<PartNumber>(\d+)<\/PartNumber>/.exec(part)?.[1]),
    etag: (/<ETag>(.*?)<\/ETag>/.exec(part)?.[1] ?? '').replaceAll(/&quot;|&#34;|"/g, ''),
  }))
}
