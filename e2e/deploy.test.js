// What operators deploy, without a cluster: the overlays in deploy/kubernetes as kubectl builds them,
// against the schemas of Kubernetes and against the server's own configuration.
//
//   node scripts/test.js e2e/deploy.test.js      as root; the first run installs kubectl

import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readConfig, variableNames } from '../packages/server/dist/config.js'
import { secrets } from '../packages/server/dist/secret.js'
import { readCompose } from './compose.js'
import { build, faultsOf, kubernetesTools } from './kubernetes.js'
import { freshFolder, requireTools, root, startServer } from './machine.js'

const name = 'backing-image-manager'
const base = join(root, 'deploy/kubernetes')
const overlays = { s3: { replicas: 2 }, nfs: { replicas: 2 }, local: { replicas: 1 } }
const tokens = { API_TOKEN: 'a'.repeat(32), URL_SIGNING_KEY: 'b'.repeat(32) }
const variables = [...variableNames, ...secrets.map((secret) => `${secret}_FILE`)]

const test = suite('deployment')
let tools
let folder

test.before(async () => {
  requireTools('unzip')
  folder = freshFolder()
  tools = await kubernetesTools()
  for (const [overlay, known] of Object.entries(overlays)) {
    known.objects = await build(tools, join(base, 'overlays', overlay))
  }
})

test.after(() => folder?.remove())

function eachOverlay(claim, body) {
  for (const overlay of Object.keys(overlays)) {
    test(`${overlay}: ${claim}`, () => body({ overlay, ...parts(overlays[overlay].objects) }))
  }
}

function parts(objects) {
  const all = (kind) => objects.filter((object) => object.kind === kind)
  const deployment = all('Deployment')[0]
  const pod = deployment.spec.template.spec
  return { objects, all, deployment, pod, container: pod.containers[0] }
}

test('every overlay is tested here', () => {
  assert.equal(readdirSync(join(base, 'overlays')).toSorted(), Object.keys(overlays).toSorted())
})

test('the check finds a wrong value, a missing and an unknown field', () => {
  const faults = (change) => {
    const deployment = structuredClone(parts(overlays.s3.objects).deployment)
    change(deployment.spec)
    return faultsOf(tools, deployment).join()
  }
  assert.match(
    faults((spec) => (spec.replicas = 'two')),
    /replicas must be integer/,
  )
  assert.match(
    faults((spec) => delete spec.selector),
    /selector/,
  )
  const misspelt = faults((spec) => (spec.template.spec.containers[0].readOnly = true))
  assert.is(misspelt, '/spec/template/spec/containers/0/readOnly is not known.')
})

eachOverlay('every object keeps to its schema', ({ objects }) => {
  assert.ok(objects.length >= 7)
  for (const object of objects) assert.equal(faultsOf(tools, object), [], object.kind)
})

eachOverlay('every object has its name, namespace and kind once', ({ objects }) => {
  const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`)
  assert.is(new Set(names).size, names.length)
  for (const { kind, metadata } of objects) {
    assert.is(metadata.namespace, kind === 'PersistentVolume' ? undefined : name, kind)
  }
})

eachOverlay('the server has no right on its node nor in its cluster', ({ pod, container, all }) => {
  assert.equal(pod.securityContext, {
    fsGroup: 1000,
    fsGroupChangePolicy: 'OnRootMismatch',
    runAsGroup: 1000,
    runAsNonRoot: true,
    runAsUser: 1000,
    seccompProfile: { type: 'RuntimeDefault' },
  })
  assert.equal(container.securityContext, {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    readOnlyRootFilesystem: true,
  })
  assert.is(pod.containers.length, 1)
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC', 'initContainers']) {
    assert.is(pod[field], undefined, field)
  }
  assert.is(pod.automountServiceAccountToken, false)
  assert.is(all('ServiceAccount')[0].automountServiceAccountToken, false)
  assert.is(pod.serviceAccountName, all('ServiceAccount')[0].metadata.name)
  assert.equal(all('Role').concat(all('ClusterRole'), all('RoleBinding')), [])
  for (const resource of ['cpu', 'memory']) {
    assert.ok(container.resources.requests[resource])
    assert.ok(container.resources.limits[resource])
  }
})

eachOverlay('what is mounted is there, and only images and /tmp are writable', (its) => {
  const { pod, container, all } = its
  const has = (kind, wanted) => all(kind).some(({ metadata }) => metadata.name === wanted)
  const volumes = new Map(pod.volumes.map((volume) => [volume.name, volume]))
  for (const { name: volumeName, readOnly } of container.volumeMounts) {
    const { secret, persistentVolumeClaim: claim, emptyDir } = volumes.get(volumeName)
    assert.is(readOnly ?? false, secret !== undefined, volumeName)
    if (secret) {
      assert.ok(has('Secret', secret.secretName) || secret.secretName === `${name}-tokens`)
      // Group 1000 may read it, nobody else.
      assert.is(secret.defaultMode, 0o440)
    } else if (claim) assert.ok(has('PersistentVolumeClaim', claim.claimName))
    else assert.ok(emptyDir.sizeLimit)
  }
  assert.is(container.volumeMounts.length, volumes.size)
  assert.ok(container.volumeMounts.some(({ mountPath }) => mountPath === '/tmp'))
  for (const { configMapRef } of container.envFrom) assert.ok(has('ConfigMap', configMapRef.name))
})

eachOverlay('selectors, ports and volumes name what they mean', (its) => {
  const { deployment, container, all } = its
  const { labels } = deployment.spec.template.metadata
  assert.equal(labels, { 'app.kubernetes.io/name': name })
  assert.equal(deployment.spec.selector, { matchLabels: labels })
  assert.equal(container.ports, [{ name: 'http', containerPort: 8080 }])
  const [{ spec: service }] = all('Service')
  assert.equal(service.selector, labels)
  assert.equal(service.ports, [{ name: 'http', port: 8080, targetPort: 'http' }])
  const [{ spec: policy }] = all('NetworkPolicy')
  assert.equal(policy.podSelector, { matchLabels: labels })
  assert.equal(policy.policyTypes, ['Ingress', 'Egress'])
  assert.equal(policy.ingress, [{ ports: [{ protocol: 'TCP', port: 'http' }] }])
  const out = policy.egress.flatMap(({ ports }) => ports.map((at) => `${at.protocol} ${at.port}`))
  // The nodes mount an export, not the pods.
  assert.equal(out, ['UDP 53', 'TCP 53', ...(its.overlay === 's3' ? ['TCP 443'] : [])])
  for (const claim of all('PersistentVolumeClaim')) {
    const volume = all('PersistentVolume').find(
      ({ metadata }) => metadata.name === claim.spec.volumeName,
    )
    assert.equal(volume.spec.claimRef, { name: claim.metadata.name, namespace: name })
    assert.equal(volume.spec.accessModes, claim.spec.accessModes)
    assert.is(volume.spec.storageClassName, '')
    assert.is(claim.spec.storageClassName, '')
    assert.is(volume.spec.capacity.storage, claim.spec.resources.requests.storage)
    assert.is(volume.spec.persistentVolumeReclaimPolicy, 'Retain')
  }
})

eachOverlay('an update and a drain always leave enough', ({ overlay, deployment, pod, all }) => {
  assert.is(deployment.spec.replicas, overlays[overlay].replicas)
  const [budget] = all('PodDisruptionBudget')
  if (overlay === 'local') {
    assert.equal(deployment.spec.strategy, { type: 'Recreate' })
    assert.is(budget, undefined)
    assert.is(pod.topologySpreadConstraints, undefined)
    return
  }
  const rollingUpdate = { maxSurge: 1, maxUnavailable: 0 }
  assert.equal(deployment.spec.strategy, { type: 'RollingUpdate', rollingUpdate })
  assert.is(budget.spec.maxUnavailable, 1)
  assert.equal(budget.spec.selector, deployment.spec.selector)
  for (const constraint of pod.topologySpreadConstraints) {
    assert.equal(constraint.labelSelector, deployment.spec.selector)
    // One node alone must still run all of them.
    assert.is(constraint.whenUnsatisfiable, 'ScheduleAnyway')
  }
})

eachOverlay('the server takes its environment, and is stopped after its grace', (its) => {
  const { overlay, pod, container } = its
  const { env, config } = configured(its)
  for (const variable of Object.keys(env)) assert.ok(variables.includes(variable), variable)
  assert.is(config.storage.type, overlay)
  assert.is(config.port, container.ports[0].containerPort)
  assert.is(config.apiToken, tokens.API_TOKEN)
  assert.equal(config.urlSigningKeys, [tokens.URL_SIGNING_KEY])
  if (overlay === 's3') {
    assert.is(config.storage.s3.accessKey, 'replace-me')
    assert.is(config.storage.s3.singleWriter, false)
  } else {
    assert.ok(container.volumeMounts.some(({ mountPath }) => mountPath === config.storage.path))
    assert.is(config.storage.mount, undefined)
  }
  const sleepMs = container.lifecycle.preStop.sleep.seconds * 1000
  const leastMs = config.shutdownGraceMs + sleepMs + 5000
  assert.ok(pod.terminationGracePeriodSeconds * 1000 > leastMs)
})

eachOverlay('no secret is kept here', ({ objects, all, pod }) => {
  for (const { data } of all('Secret')) {
    for (const text of Object.values(data)) {
      assert.is(Buffer.from(text, 'base64').toString(), 'replace-me')
    }
  }
  // Nor does one stand anywhere but in a Secret.
  const env = pod.containers[0].env.map((variable) => variable.name)
  const inMaps = all('ConfigMap').flatMap(({ data }) => Object.keys(data))
  for (const secret of secrets) assert.not.ok([...env, ...inMaps].includes(secret), secret)
  assert.is(JSON.stringify(objects).match(/-----BEGIN/), null)
})

test('the probes succeed without a token on a server that asks for one', async () => {
  const its = { overlay: 'local', ...parts(overlays.local.objects) }
  const { env } = configured(its)
  const storage = join(folder.path, 'storage')
  mkdirSync(storage)
  const { API_TOKEN_FILE, URL_SIGNING_KEY_FILE } = env
  const server = await startServer(storage, { API_TOKEN_FILE, URL_SIGNING_KEY_FILE })
  try {
    assert.is((await fetch(`${server.url}/v1/backing-images`)).status, 401)
    for (const { container } of Object.values(overlays).map(({ objects }) => parts(objects))) {
      const { startupProbe, livenessProbe, readinessProbe } = container
      const paths = [startupProbe, livenessProbe, readinessProbe].map(({ httpGet }) => {
        assert.equal(Object.keys(httpGet).toSorted(), ['path', 'port'])
        assert.is(httpGet.port, 'http')
        return httpGet.path
      })
      assert.equal(paths, ['/health', '/health', '/ready'])
      for (const path of paths) assert.is((await fetch(`${server.url}${path}`)).status, 200, path)
    }
  } finally {
    await server.stop()
  }
})

test('an export is mounted so that nothing is lost and news are seen', () => {
  const [{ spec }] = parts(overlays.nfs.objects).all('PersistentVolume')
  assert.equal(spec.accessModes, ['ReadWriteMany'])
  const options = readCompose('compose.nfs.yaml').volumes.images.driver_opts
  for (const option of ['nfsvers=4.2', 'hard', 'actimeo=1', 'lookupcache=positive']) {
    assert.ok(spec.mountOptions.includes(option), option)
    assert.ok(options.o.split(',').includes(option), option)
  }
})

test('the guide names only what is there', () => {
  const guide = readFileSync(join(base, 'README.md'), 'utf8')
  const paths = [...guide.matchAll(/`((?:base|components|overlays)\/[^`]*)`/g)].map(([, at]) => at)
  assert.ok(paths.length >= 5)
  for (const path of paths) assert.ok(existsSync(join(base, path)), path)
  assert.ok(guide.includes(`create secret generic ${name}-tokens`))
})

/** The environment of the container, its secrets as files here, and what the server makes of it. */
function configured({ overlay, pod, container, all }) {
  const env = Object.assign({}, ...all('ConfigMap').map(({ data }) => data))
  for (const { name: variable, value } of container.env) env[variable] = value
  const place = join(folder.path, `secrets-${overlay}`)
  mkdirSync(place, { recursive: true })
  for (const variable of Object.keys(env).filter((at) => at.endsWith('_FILE'))) {
    const mount = container.volumeMounts.find(({ mountPath }) => {
      return env[variable].startsWith(`${mountPath}/`)
    })
    const { secret } = pod.volumes.find((volume) => volume.name === mount.name)
    const key = env[variable].slice(mount.mountPath.length + 1)
    const made = all('Secret').find(({ metadata }) => metadata.name === secret.secretName)
    const text = made ? Buffer.from(made.data[key], 'base64').toString() : tokens[key]
    env[variable] = join(place, key)
    writeFileSync(env[variable], text)
  }
  return { env, config: readConfig(env) }
}

test.run()
