// Compressed files as the real programs made them (xz 5.4.1, zstd 1.5.4, bzip2 1.0.8, each command is
// beside its file), for machines that do not have these; gzip is Node's own.

import { gzipSync } from 'node:zlib'
import type { Compression } from '../compression.ts'

/** What the files called `sample` hold; it passes for a raw disk. */
export const sample: Buffer = Buffer.from(
  Array.from({ length: 700 }, (_, index) => `block ${(index * 7919) % 251} of ${index % 8}\n`).join(
    '',
  ),
)
/** What the files called `zeros` hold: so many bytes. */
export const zerosBytes: number = 4 * 1024 * 1024
/** What all other files hold. */
export const smallImage = 'a small image\n'

type Files = { [name: string]: string; sample: string; zeros: string }

/** Each in base64. */
const files: Record<Compression, Files> = {
  gzip: {
    sample: gzipSync(sample).toString('base64'),
    zeros: gzipSync(Buffer.alloc(zerosBytes)).toString('base64'),
    'the least effort': gzipSync(smallImage, { level: 1 }).toString('base64'),
  },
  xz: {
    // xz -c a
    sample:
      '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4CfPAp1dADEbCkIhsEDNWFjG+iNhh4kyoMO95gM6937MQJarSvnxBYh2' +
      'pfu/JzJkITsgyLW+Wn8YrznLzYpxLX257zIuSfDijUsKDD/N4JIRjBDW4BnDRnaIVbAM10qzOWM4mIch+PHgYWSr' +
      'NWR1fp3HzTq/o1oyQ0HocBFaWF4tRZNOtNP+8RzgwC6DUgwlfy1hvb9OyCtmaFluizHxSE7xvLfcdLAt/uUaA5hm' +
      'A3SNz11GoQm5KZi72K1HKn5eq1os0I8ePidC5Hm7bYbNmF94IFIbaYp2nfj3JV8aH/uEH6L92Jf83iLXPlImw5ev' +
      '6owrVdZDYh9GlkN8908KnmohBZc00skeaxv9IsA35wxlfqc6PvYp7U+nVgf7mp7h6kAC5gkJBjAk0Tm+ONAbAlrz' +
      'a6ZyN+4WJRean+JzVafMDkUjxukqHRpH/Af3ZzohMl1D1FWKfPvRieDOj3BM1yHHOgVUmj8NUv4qNTjiXjdahHXS' +
      'vQsz1nIy4lBEPDnRZWrSiRcHYplebeoNg8dPgdh9Psl5BeiTYko7VFUYEP2Ejq4W5nZPYyY4ptBMt9UXUaGJY6Ko' +
      'zpUdYh4DpMMXvEMhECISFuEMumEXBh81spRoHl/XhEUhQNy+KjymkoszFP51DQ7+G/QvEbBD2v8VelMWCToQ8FcQ' +
      'Asy6Si4f+f9b4i036JfzlHCaBznvA+E/O5fNEPr46wvOLC/fA8hggcdVjZWBZOCIZVpU0XjYaGP6wJsQYqNUjG9E' +
      'pEukzysnGKW+zQGD8p3q2a02FP3+nCH1q5TEhQ1N+vYFUoTjrmoAvBGtLuwjrvXVqKzAG4SWUJ66Kes+HArfaBJS' +
      'T0snYrixyiGuHd0Oa6ktiNJsdSG4QUTcamoCQNbQpgxQot3tUy64AAAAAABhBou/1+htvwABuQXQTwAAdGria7HE' +
      'Z/sCAAAAAARZWg==',
    // xz -9
    zeros:
      '/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM//8RAWxdAABv/f//o7f/Rz5IFXI5YVG4kijmo4YH+e7kHoLTL8U6PAFL' +
      'sX7JiopNL6MN2X+m44wjEVPgWRjFdYrid/i2lH8MasDedElk4ulcU7IE2PdEDKtfDW1G6eXDdoi3llestk3haR1v' +
      '+0uIEGxCy4g/XACP0E6vJiiUcR89jyThcJ6nI1/sKMuF0ZWYin4qkfIndfcZwAaYTZj92K/VkA/EJVP49ZE2MQWl' +
      'sO5vwXBNRwzRkRGqrWAdus6xJxhcWYbpZlJYvul2rFnk5VsFCPnH2q38+1IrdM0eWyBC+d1TPfgpZAk7gMsqbN+1' +
      'O/DEvS5fqg8+S2ZCkBMO/xCT+HF4WfgLzf+VKEYPqfx83vuaMC5WwI+F84OBwGXEJVP49ZE2MQWlsO5vwXBNRwzR' +
      'kRGqrWAdus6xJxhcWYbpZlJYvul2rFnk5VsFCPnH2q38+1IrdM0eWyBC+d1TPfgpZAk7gMsqbN+1O/DEvEgn5lif' +
      '/xABKwDsc1On/b6ufDEan7eNMW5wnqcjX+woy4XRlZiKfiqR8id19xnABphNmP3Yr9WQD8QlU/j1kTYxBaWw7m/B' +
      'cE1HDNGREaqtYB26zrEnGFxZhulmUli+6XasWeTlWwUI+cfarfz7Uit0zR5bIEL53VM9+ClkCTuAyyps37U78MS9' +
      'Ll+qDz5LZkKQEw7/EJP4cXhZ+AvN/5UoRg+p/Hze+5owLlbAj4Xzg4HAZcQlU/j1kTYxBaWw7m/BcE1HDNGREaqt' +
      'YB26zrEnGFxZhulmUli+6XasWeTlWwUI+cfarfz7Uit0zR5bIEL53VM9+ClkCTuAyyps37U78MS9Ll+qDz5LZkKQ' +
      'Ew7/EJP4cXhZ+AvN/5UoRg+p/Hze+5owLlbAj4Xzg4HAZcQlUQ8/soAB3AAFAEHqpi0AAGtsRXzSCWHbAAHEBYCA' +
      'gALTUy1YscRn+wIAAAAABFla',
    // xz --check=crc32
    CRC32:
      '/Td6WFoAAAFpIt42AgAhARYAAAB0L+WjAQANYSBzbWFsbCBpbWFnZQoAAACRkwwPAAEiDgzejGCQQpkNAQAAAAAB' +
      'WVo=',
    // xz --check=none
    'no check':
      '/Td6WFoAAAD/EtlBAgAhARYAAAB0L+WjAQANYSBzbWFsbCBpbWFnZQoAAAAAAR4O86d/EwZynnoBAAAAAABZWg==',
    // xz -9
    'a dictionary of 64 MiB':
      '/Td6WFoAAATm1rRGAgAhARwAAAAQz1jMAQANYSBzbWFsbCBpbWFnZQoAAABrlXgxiBiDhwABJg4IG+AEH7bzfQEA' +
      'AAAABFla',
  },
  zstd: {
    // zstd -19 -c a
    sample:
      'KLUv/WTQJoUcAJpB9AYSsFdaDACIIiY5opW9ZKfUncCBcABlAGYAchIpI/mMrxzh6UHcs0jHcjEepRAOPYh/Gvlo' +
      'TmMxSSh7EJ/zyBnPa6xZQvcgLs5BinG4jTdN+O50Skmj6Dce84Sze52WNaqPsTCHUOxu96WN60G0MF6BjMKdIghN' +
      'mHLaMDAINwYACQODIIFAYFAQENdYs4TuQVycgxTjcBtvmvDd6ZSSRtFvPOYJZ/c6LWtUH2NhDqHY3e5LG9eDOJlC' +
      '0orfPeWNowfxMiVr9XGLcoxCD+JmTtruMqZShKQH8TOHvB13XKXC0oP4MAU5VvhjKxeaHsQDK3Zf2rgexMkUklb8' +
      '7ilvHD2IlylZq49blGMUehA3c9J2lzGVIiQ9iJ855O244yoVlh7EhynIscIfW7nQ9CAuJ5Eyks/4yhGeHsQ9i3Qs' +
      'F+NRCuHQg/inkY/mNBaThLIH8TmPnPEMABMGBuHMIW/HHVepsPQgPkxBjhX+2MqFpgdxOYmUkXzGV47w9CDuWaRj' +
      'uRiPUgiHHsQ/jXw0p7GYJJQ9iM955IznNdYsoXsQF+cgxTjcxpsmfHc6paRR9BuPecLZvU7LGtVDUIJVIBEmgsKo' +
      'IijydubCcUcS+GYiEAgCDIK5BfwBEnhhV5kbRHDJObwGsMt3Ox7dFhZLz+0liJmc2+DuLrBc6HxvANjm34Zed4Ll' +
      'hOd6DeAm/3a0uxMsJzzXawA3+bej3Z1gOeG5XgO4yb8drQQbi+dcCvZyMTWlJ8r5HQRmMdFucKSdiTj3IqaSW3Fv' +
      'GSYvh/Wks+tm34FbwgApuSWlHTkz22zcAYYIkS8jyen52dbhDjCEkFxpSU/Oz74ad4AhhORKS3pyfvbVuAMMISRX' +
      'WtKT87Ovxh1gCCG50pKenJ99Ne4AQwjJlZb05Pzsq3EHGEJIrrSkJ+dnX407wBBCcqUlPTk/+woBFhDM+oXgIjV3' +
      'YAnSF4vSgQzsQzaBXaS7g0BMyHydBob4sy32O4k2gnN3M4lYnz3h3UGQE57b2ljF/uwJ706AjLDc1M5i1m9f+ncA' +
      'bITn1mYWs3770r+DYCc8tzSRmPzbl96dQBtjua2N1eTfnvTuAMoJz30tpCb/9qR3B1BOeO5rITX5tye9O4BywnNf' +
      'C6nJvz1pATQW77kUrGRxNaQ39JNEyEQAyC8UgF+lu1uMZkh+L74xcwsgJgKYUAEyIYAJFbBmHv1JIv28Fkz9VrQC' +
      'rBg=',
    // zstd -19
    zeros:
      'KLUv/QRoTAAACAABAPz/ORACAgAQAAIAEAACABAAAgAQAAIAEAACABAAAgAQAAIAEAACABAAAgAQAAIAEAACABAA' +
      'AgAQAAIAEAACABAAAgAQAAIAEAACABAAAgAQAAIAEAACABAAAgAQAAIAEAACABAAAgAQAAIAEAACABAAAgAQAAIA' +
      'EAACABAAAwAQACidvHw=',
    // zstd --long=27
    'a window of 128 MiB': 'KLUv/QSIcQAAYSBzbWFsbCBpbWFnZQpPbFEU',
    // zstd --no-check
    'no check': 'KLUv/QBYcQAAYSBzbWFsbCBpbWFnZQo=',
  },
  bzip2: {
    // bzip2 -c a
    sample:
      'QlpoOTFBWSZTWUs1xNgAClZZAAAQQAB/4BkM4AfYAB88AA97r4opSapVIKqf/kqmm3lVUyGESftSh+UgBB7zepKq' +
      'eiMIVU/J/6kj1VSZAIz1UptJtUADbVSVN5U3qgZDr/Ok9Zhu7qSegAGZgAJu7vTgBWXLaAATd3bHh1oAAAE4JwAA' +
      'AHeWk3d1OAAMuW1QBN6ScAGZgAASTd3ezDqUAAASTpjSTgAABJ0yzLd3dsk4ABd22yUBJN2yTgGZgAAJu7vTGHKA' +
      'AABJ3g6SQAABjvLew3ZOXyW5aAAAkkecJOAAAA5lwm9JKAAGZgASTd6ScAkt3baAAkm9JOyW5ZaAAAbvXCJJwAAA' +
      '/u2rf6bas2tWzbVla1m2rKpVrNtsq1lUq1mqVazV+fmvu/zPuj5sB+ua5NyPgNB97+d/X9D0kkB71tN972yySAsk' +
      'n2vvvo0A3zfGx8BocttoOySQdzdu79mW5ZJAeknrb1387201Lbe97aAW20Ekkh3vbQMy2uySQHZ3VtgHuckgHvet' +
      'Jq200ADJltgLJJFttAMy2gAc5xoAfNm+b4DQAPe931kgLJJbe3ZvMtoySSBX4ID5trnOANj4Prbc7czMBkk83byT' +
      '3vA7JJB33vfZrM95q23Mz3gC22gAMy2gdd7bAekkh71tNAznJIB3O2szVtANAZltLJJAW20AzLaAC+sVWMUO2AN7' +
      'pUlo6jSUuSAA5nIUQJtVZutVba8Wq/PoAAAAAAAAAAAebas775zhzy1WffXaMktA2i7VW+9Xine97JJzrzzmta1r' +
      '1fAGZIAMyQASZALZkgGSS0LJkVaLmSKAsmRQFmSKAsyZJvex1zZ4pubdkkvlukkl2VBt6rL62xZPPLbzmjr3sCyZ' +
      'FAWTIoCyZKAZJABMkoBmAAAYAJmSYzexbvfOD33b7Oct2DK7b1W0O6ScvLbJJ99tyu+eKqAAAAAAAAAAC0AFkmTN' +
      '72PWdZzeta57zc20kndvVby1ULb2STc95l2DYvB132ALQAAAAAAAAAAALJMmM88VDzbSSd951TYNgytv1X3vPbJE' +
      'vLy7SSd29V3zKqgAAcAAAAAAAABVreeeeddddfHfrzrnW7Dc2V9t+q2nayEbdZJPMbK2hXnO+wAAMAAAAAAA/Pz8' +
      '5+cN54wkCebaST502VtCq232STu6aM5obmyvtv1WegAAAAAAAAAwD49776666/HvvrDvyO5sru7eq92zCQJtlb8x' +
      'sr8/PvOe85zzwAAAAAAAAABwA5555JyQJ5srPS1W2vFqtu7JJe5eZLy1X7bfZJPnQAAAAAAAAAAD+bVWt97aq1vr' +
      'aq1vraq1vvaq1u9qrW/4u5IpwoSCWa4mwA==',
    // bzip2
    zeros: 'QlpoOTFBWSZTWVYC4ogAICBIAMAAAAQACCAAMMwFKaYCAbECAeLuSKcKEgrAXFEA',
    // bzip2 -1
    'the smallest level':
      'QlpoMTFBWSZTWR2NaOMAAAHRgAAQQAAipggAIAAiBgggyYgMiUw1s4+LuSKcKEgOxrRxgA==',
  },
}

/** Files that can not be unpacked here, though nothing is wrong with them. */
const strangers: { [compression in Compression]?: Record<string, string> } = {
  xz: {
    // xz --lzma2=dict=65MiB
    'a dictionary of 65 MiB':
      '/Td6WFoAAATm1rRGAgAhAR0AAAB1qOR0AQANYSBzbWFsbCBpbWFnZQoAAABrlXgxiBiDhwABJg4IG+AEH7bzfQEA' +
      'AAAABFla',
    // xz --check=sha256
    'SHA-256':
      '/Td6WFoAAArh+wyhAgAhARYAAAB0L+WjAQANYSBzbWFsbCBpbWFnZQoAAADreE2oMKbD+evnEfhBFDknisQSp5Wf' +
      '8q+SZW3Q+1he4gABPg5Rg/uGGJtLmgEAAAAAClla',
    // xz --x86 --lzma2
    'a filter':
      '/Td6WFoAAATm1rRGAgEEACEBFgANhjUfAQANYSBzbWFsbCBpbWFnZQoAAABrlXgxiBiDhwABJg4IG+AEH7bzfQEA' +
      'AAAABFla',
  },
  zstd: {
    // zstd --long=28
    'a window of 256 MiB': 'KLUv/QSQcQAAYSBzbWFsbCBpbWFnZQpPbFEU',
  },
}

export const allCompressions = Object.keys(files) as Compression[]

/** `sample` or `zeros`, packed. */
export function packed(compression: Compression, name: 'sample' | 'zeros' = 'sample'): Buffer {
  return Buffer.from(files[compression][name], 'base64')
}

/** Files with all that a format may be asked for; each holds `smallImage`. */
export function variants(compression: Compression): [name: string, file: Buffer][] {
  return decoded(files[compression]).filter(([name]) => name !== 'sample' && name !== 'zeros')
}

export function refused(compression: Compression): [name: string, file: Buffer][] {
  return decoded(strangers[compression] ?? {})
}

function decoded(named: Record<string, string>): [name: string, file: Buffer][] {
  return Object.entries(named).map(([name, text]) => [name, Buffer.from(text, 'base64')])
}
