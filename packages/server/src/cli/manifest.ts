// `backing-image manifest`: what a cluster needs to use an image, ready for kubectl.

import { type ManifestKind, manifestKinds } from '@backing-image/longhorn'
import { type Command, Option } from 'commander'
import {
  addServerCommand,
  clientOf,
  imagePath,
  nameAnd,
  withName,
  withQuery,
} from './server-options.ts'
import { type Terminal, UsageError } from './terminal.ts'

interface Options {
  name?: string
  kind: ManifestKind
  version?: string
  namespace?: string
  fromBackup?: string
}

const helpText = `
Kinds:
  BackingImage           has Longhorn fetch the image
  StorageClass           the same when the first volume is made; its volumes begin as the image
  PersistentVolumeClaim  a volume of that StorageClass
  Volume                 a volume of Longhorn itself; with --from-backup a restore over this image
  VolumeSnapshotClass    its snapshots are backing images of Longhorn, made from a volume
  DataVolume             KubeVirt's CDI fetches the image; for the v2 data engine it is the way

Comments at the top of the YAML say what stands in the way; "preflight" says more. The URL in it is the
permanent one, which begins with PUBLIC_URL of the server.

Examples:
  $ backing-image-manager backing-image manifest debian | kubectl apply -f -
  $ backing-image-manager backing-image manifest debian --kind StorageClass | kubectl apply -f -
  $ backing-image-manager backing-image manifest debian --kind PersistentVolumeClaim \\
      --namespace machines | kubectl apply -f -
  $ backing-image-manager backing-image manifest debian --kind Volume \\
      --from-backup 's3://backups@us-east-1/?backup=backup-1a2b&volume=disk' | kubectl apply -f -`

export function addManifest(group: Command, terminal: Terminal): void {
  withName(addServerCommand(group, 'manifest NAME', 'print YAML for kubectl apply'))
    .argument('[name]', 'the image')
    .addOption(
      new Option('--kind <kind>', 'of the object').choices(manifestKinds).default('BackingImage'),
    )
    .option('--version <version>', 'of the image (default: the newest that is ready)')
    .option('--namespace <namespace>', 'where the object is to be')
    .option('--from-backup <url>', 'of a Volume: the backup that it is restored from')
    .addHelpText('after', helpText)
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const [name] = nameAnd(options.name, [given])
      const { kind, version, namespace, fromBackup } = options
      if (fromBackup !== undefined && kind !== 'Volume') {
        throw new UsageError(`--from-backup is of a Volume, not of a ${kind}: add --kind Volume.`)
      }
      const query = { kind, version, namespace, fromBackup }
      const path = withQuery(`${imagePath(name)}/manifest`, query)
      terminal.stdout.write(await clientOf(command, terminal).text(path))
    })
}
