// Stand-ins for the checksum files that distributions publish: their formats and names, with digests
// of the names themselves.

import { createHash } from 'node:crypto'
import type { Algorithm } from '../../checksum.ts'

/** The digest that a file of that name has in this corpus. */
export function digestOf(algorithm: Algorithm, name: string): string {
  return createHash(algorithm).update(name).digest('hex')
}

const sha512 = (name: string): string => digestOf('sha512', name)
const sha256 = (name: string): string => digestOf('sha256', name)
const sha1 = (name: string): string => digestOf('sha1', name)
const md5 = (name: string): string => digestOf('md5', name)

const signature = `-----BEGIN PGP SIGNATURE-----
Version: GnuPG v2.0.22 (GNU/Linux)

iQIzBAEBCAAdFiEEFZ8MlQ1kHtYVZVQVfeKXe5JBgqkFAmYhZ0cACgkQfeKXe5JB
gqnXIBAAhm4Rr1qRxE5pT7o7a0f5d2b8c9e0f1a2b3c4d5e6f708192a3b4c5d6e7f80
=5dQs
-----END PGP SIGNATURE-----
`

function signed(text: string): string {
  return `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${text}${signature}`
}

export interface ChecksumFile {
  /** Where it is from and what it is called there. */
  origin: string
  text: string
  /** Names that are looked for, with what is to be found. */
  finds: Record<string, string>
}

const debian = ['debian-12-genericcloud-amd64.qcow2', 'debian-12-genericcloud-amd64.raw']
const netboot = 'netboot/netboot.tar.gz'
const ubuntu = ['noble-server-cloudimg-amd64.img', 'noble-server-cloudimg-arm64.img']
const fedora = 'Fedora-Cloud-Base-Generic-41-1.4.x86_64.qcow2'
const fedoraUefi = 'Fedora-Cloud-Base-UEFI-UKI-41-1.4.x86_64.qcow2'
const rocky = 'Rocky-9-GenericCloud-Base-9.4-20240509.0.x86_64.qcow2'
const suse = 'openSUSE-Leap-15.6.x86_64-1.0.1-NoCloud-Build2.139.qcow2'
const arch = 'Arch-Linux-x86_64-cloudimg-20240815.258264.qcow2'
const archIso = 'archlinux-2024.08.01-x86_64.iso'
const cirros = ['cirros-0.6.2-x86_64-disk.img', 'cirros-0.6.2-aarch64-disk.img']
const freebsd = 'FreeBSD-14.1-RELEASE-amd64.qcow2.xz'

export const checksumFiles: ChecksumFile[] = [
  {
    origin: 'Debian SHA512SUMS of cloud images',
    text: debian.map((name) => `${sha512(name)}  ${name}\n`).join(''),
    finds: Object.fromEntries(debian.map((name) => [name, `sha512:${sha512(name)}`])),
  },
  {
    origin: 'Debian SHA256SUMS of an installer, with folders',
    text: `${sha256('MANIFEST')}  ./MANIFEST\n${sha256(netboot)}  ./${netboot}\n`,
    finds: {
      [netboot]: `sha256:${sha256(netboot)}`,
      'netboot.tar.gz': `sha256:${sha256(netboot)}`,
      MANIFEST: `sha256:${sha256('MANIFEST')}`,
    },
  },
  {
    origin: 'Ubuntu SHA256SUMS, binary',
    text: ubuntu.map((name) => `${sha256(name)} *${name}\n`).join(''),
    finds: Object.fromEntries(ubuntu.map((name) => [name, `sha256:${sha256(name)}`])),
  },
  {
    origin: 'Fedora CHECKSUM',
    text: signed(
      `# ${fedora}: 475791360 bytes\nSHA256 (${fedora}) = ${sha256(fedora)}\n` +
        `# ${fedoraUefi}: 525860864 bytes\nSHA256 (${fedoraUefi}) = ${sha256(fedoraUefi)}\n`,
    ),
    finds: { [fedora]: `sha256:${sha256(fedora)}`, [fedoraUefi]: `sha256:${sha256(fedoraUefi)}` },
  },
  {
    origin: 'Rocky CHECKSUM of one image, which has another name besides',
    text: `# ${rocky}: 612040704 bytes\nSHA256 (${rocky}) = ${sha256(rocky)}\n`,
    finds: {
      [rocky]: `sha256:${sha256(rocky)}`,
      'Rocky-9-GenericCloud.latest.x86_64.qcow2': `sha256:${sha256(rocky)}`,
    },
  },
  {
    origin: 'openSUSE .sha256 of one image',
    text: `${sha256(suse)}  ${suse}\n`,
    finds: {
      [suse]: `sha256:${sha256(suse)}`,
      'openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2': `sha256:${sha256(suse)}`,
    },
  },
  {
    origin: 'openSUSE .sha256, signed',
    text: signed(`${sha256(suse)}  ${suse}\n`),
    finds: { [suse]: `sha256:${sha256(suse)}`, 'other.qcow2': `sha256:${sha256(suse)}` },
  },
  {
    origin: 'Arch .SHA256 of one image',
    text: `${sha256(arch)}  ${arch}\n`,
    finds: { [arch]: `sha256:${sha256(arch)}` },
  },
  {
    origin: 'Arch sha256sums.txt',
    text: `${sha256(archIso)}  ${archIso}\n${sha256('bootstrap')}  archlinux-x86_64.tar.zst\n`,
    finds: { [archIso]: `sha256:${sha256(archIso)}` },
  },
  {
    origin: 'CirrOS MD5SUMS',
    text: cirros.map((name) => `${md5(name)}  ${name}\n`).join(''),
    finds: Object.fromEntries(cirros.map((name) => [name, `md5:${md5(name)}`])),
  },
  {
    origin: 'CirrOS SHA256SUMS',
    text: cirros.map((name) => `${sha256(name)} *${name}\n`).join(''),
    finds: Object.fromEntries(cirros.map((name) => [name, `sha256:${sha256(name)}`])),
  },
  {
    origin: 'FreeBSD CHECKSUM.SHA512',
    text: `SHA512 (${freebsd}) = ${sha512(freebsd)}\nSHA512 (x.raw.xz) = ${sha512('x')}\n`,
    finds: { [freebsd]: `sha512:${sha512(freebsd)}` },
  },
  {
    origin: 'openssl dgst',
    text: `SHA2-256(a.img)= ${sha256('a.img')}\nSHA1(b.img)= ${sha1('b.img')}\n`,
    finds: { 'a.img': `sha256:${sha256('a.img')}`, 'b.img': `sha1:${sha1('b.img')}` },
  },
]
