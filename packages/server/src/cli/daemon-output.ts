// What a daemon answers, as Longhorn's own tool prints it: to the byte, for programs read it (contract §5).

import type { ImageResponse } from '@backing-image/daemon'
import type { LonghornImage } from './output.ts'
import type { Terminal } from './terminal.ts'

export function printDaemonImage(terminal: Terminal, image: ImageResponse): void {
  terminal.stdout.write(`${goJson(daemonImage(image))}\n`)
}

/** An object, name to image, in the order of Go: by bytes. JavaScript would begin with numbers. */
export function printDaemonImages(terminal: Terminal, images: Record<string, ImageResponse>): void {
  const entries = Object.entries(images)
    .toSorted(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    .map(([name, image]) => {
      const text = goJson(daemonImage(image)).replaceAll('\n', '\n\t')
      return `\n\t${goJson(name)}: ${text}`
    })
  terminal.stdout.write(entries.length === 0 ? '{}\n' : `{${entries.join(',')}\n}\n`)
}

/** JSON as Go writes it: with tabs, and safe inside HTML. */
export function goJson(value: unknown): string {
  return JSON.stringify(value, null, '\t').replaceAll(
    /[<>&\u2028\u2029]/g,
    (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function daemonImage({ spec, status }: ImageResponse): LonghornImage {
  return {
    name: spec?.name ?? '',
    uuid: spec?.uuid ?? '',
    size: spec?.size ?? 0,
    virtualSize: spec?.virtualSize ?? 0,
    realSize: spec?.realSize ?? 0,
    expectedChecksum: spec?.checksum ?? '',
    status: {
      state: status?.state ?? '',
      currentChecksum: status?.checksum ?? '',
      sendingReference: status?.sending_reference ?? 0,
      errorMsg: status?.error_msg ?? '',
      senderManagerAddress: status?.sender_manager_address ?? '',
      progress: status?.progress ?? 0,
    },
  }
}
