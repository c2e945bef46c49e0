// What is wrong with a manifest by the fields and words that Longhorn knows; what it does not know it drops
// without a word.

import { classParameters, fieldsOf, isOfKind } from '../../packages/longhorn/dist/testing/fields.js'

const usual = new Set(['apiVersion', 'kind', 'metadata', 'spec', 'allowVolumeExpansion'])

/** The kinds that are judged. */
export const judgedKinds = Object.keys(fieldsOf)

export function faultsOf(manifest) {
  const { kind, spec } = manifest
  const known = fieldsOf[kind]
  const fields = Object.entries(spec ?? manifest).filter(([key]) => spec || !usual.has(key))
  const faults = fields
    .filter(([key, value]) => known[key] === undefined || !isOfKind(value, known[key]))
    .map(([key, value]) => `${kind}: ${key} is ${JSON.stringify(value)}`)
  if (kind !== 'StorageClass') return faults
  const strange = Object.keys(manifest.parameters).filter((key) => !classParameters.has(key))
  return [...faults, ...strange.map((key) => `${kind}: ${key} is no parameter`)]
}

/** What a manifest says that Longhorn calls the image; undefined where it does not say. */
export function imageNamedIn({ kind, metadata, spec, parameters }) {
  if (kind === 'BackingImage') return metadata.name
  return kind === 'StorageClass' ? parameters.backingImage : spec?.backingImage
}
