import { cpSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer, type Server } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { native, needs } from '../support/native.ts'
import { cert, key } from './certificate.ts'
import { answers, type Diary, keepDiary, mayRead } from './diary.ts'
import { openStand, root, runsContainers, type Stand } from './stand.ts'

// Minutes each: three nodes of OpenSearch and three processes start, on few cores.
const slow = 900_000
const isHere = runsContainers() && native.opensearchProgram !== undefined
const whatIsNeeded = 'podman, podman-compose (PODMAN_COMPOSE) and an OpenSearch (OPENSEARCH_PATH)'

/** Of the engine's state: who is there, who leads, and where each copy of a shard is. */
interface State {
  readonly master_node: string
  readonly nodes: Readonly<Record<string, { readonly name: string }>>
  readonly routing_nodes: {
    readonly unassigned: readonly unknown[]
    readonly nodes: Readonly<Record<string, readonly { readonly state: string }[]>>
  }
}

/** Asks each node as Remit does: by its name, under the same authority, with the same user and password. */
const program = `
  const { SEARCH_ENGINE_URLS: urls, SEARCH_ENGINE_USER: user, SEARCH_ENGINE_PASSWORD_FILE: file } = process.env
  const password = process.argv[2] ?? require('node:fs').readFileSync(file, 'utf8')
  const headers = { authorization: 'Basic ' + btoa(user + ':' + password) }
  const ask = async (url) => {
    const response = await fetch(url + process.argv[1], { headers })
    return response.ok ? response.json() : response.status
  }
  Promise.all(urls.split(',').map((url) => ask(url).catch(() => null))).then((all) => console.log(JSON.stringify(all)))`

/** Tests of it. One file runs them and those of the other files of compose, so one after the other. */
export function describeCluster(): void {
  describe('docker-compose.cluster.yml as it stands', needs(isHere, whatIsNeeded), () => {
    const project = 'remit-cluster-test'
    const image = `localhost/${project}_remit`
    const searchNodes = ['search-1', 'search-2', 'search-3']
    const container = (service: string) => `${project}_${service}_1`
    let stand: Stand
    let front: Server
    let url: string
    let ca: string
    let diary: Diary

    const engine = async (path: string, ...password: readonly string[]) =>
      JSON.parse(await stand.inside(['node', '-e', program, path, ...password])) as readonly unknown[]
    const states = async () =>
      (await engine('/_cluster/state/master_node,nodes,routing_nodes')) as readonly (State | null)[]
    /** All nodes are of one cluster, and every copy of every shard is there. */
    const isWhole = async () =>
      (await states()).every((state) => {
        if (state === null) return false
        const { nodes, routing_nodes: shards } = state
        const copies = Object.values(shards.nodes).flat()
        return (
          Object.keys(nodes).length === searchNodes.length &&
          shards.unassigned.length === 0 &&
          copies.length > 0 &&
          copies.every((one) => one.state === 'STARTED')
        )
      })
    async function whole(): Promise<void> {
      const started = performance.now()
      await expect.poll(isWhole, { timeout: 240_000, interval: 1_000 }).toBe(true)
      stand.transcript.push(`# whole after ${((performance.now() - started) / 1000).toFixed(1)} s`)
    }
    /** How many shards searched so far, of those that the nodes remember. */
    async function searches(): Promise<number> {
      const [all] = (await engine('/remit-*/_stats/search')) as readonly {
        readonly _all: { readonly total: { readonly search: { readonly query_total: number } } }
      }[]
      return all?._all.total.search.query_total ?? 0
    }

    beforeAll(async () => {
      stand = await openStand({
        project,
        files: ['docker-compose.cluster.yml'],
        service: 'remit-1',
        settings: ({ remit, https }) => ({
          REMIT_PORT: `127.0.0.1:${remit}`,
          PUBLIC_URL: `https://localhost:${https}`,
          OPENSEARCH_JAVA_OPTS: '-Xms512m -Xmx512m',
        }),
      })
      cpSync(join(root, 'docker-compose.yml'), join(stand.folder, 'docker-compose.yml'))
      await stand.build(image)
      for (const one of ['keys', 'remit-1', 'remit-2', 'worker'])
        await stand.podman('tag', image, `localhost/${project}_${one}`)
      // TLS ends before the balancer.
      front = createServer({ key, cert }, (socket) => {
        pipeline(socket, connect(stand.ports.remit, '127.0.0.1'), socket, () => undefined)
      }).listen(stand.ports.https)
      url = `https://localhost:${stand.ports.https}`
      ca = join(stand.folder, 'ca.pem')
      writeFileSync(ca, cert)
    }, 2 * slow)
    /** Into the transcript, which is kept. */
    async function keepLogs(): Promise<void> {
      for (const one of [...searchNodes, 'remit-1', 'remit-2', 'worker', 'balancer'])
        await stand.podman('logs', container(one)).catch(() => undefined)
    }
    afterAll(async () => {
      front?.close()
      if (stand !== undefined) await keepLogs()
      await stand?.[Symbol.asyncDispose]()
    }, slow)

    test('starts from nothing; what is taken in is found through the balancer by who may read it, and by nobody else', {
      timeout: slow,
    }, async () => {
      for (const one of ['remit-1', 'remit-2', 'worker']) await stand.putModel(one)
      await stand.compose('up', '--detach', '--no-build')
      await answers({ url, stand })
      // One of the two answers; commands are for the other.
      await stand.healthy(container('remit-1'))
      diary = await keepDiary({ stand, url, ca })
      const before = await searches()
      expect(await diary.found()).toEqual(mayRead)
      expect(await searches()).toBeGreaterThan(before)
      expect(await engine('/remit-*/_count')).toMatchObject(searchNodes.map(() => ({ count: 2 })))
    })

    test('has an engine of three nodes, each heard by its name alone with the password', {
      timeout: slow,
    }, async () => {
      await whole()
      expect(await engine('/', 'wrong')).toEqual([401, 401, 401])
    })

    test('says nothing wrong while the node that leads the engine is gone, and has all of it again', {
      timeout: slow,
    }, async () => {
      const [state] = await states()
      const leader = state?.nodes[state.master_node]?.name ?? ''
      expect(searchNodes).toContain(leader)
      await using asked = diary.ask()
      await sleep(3_000)
      await stand.podman('kill', container(leader))
      await sleep(20_000)
      expect((await engine('/')).filter((one) => one === null)).toHaveLength(1)
      await stand.podman('start', container(leader))
      await whole()
      const before = await searches()
      await sleep(3_000)
      const { answered, failed } = await asked.end()
      expect(failed.filter((one) => !/Error: 503 |says that it is not whole/.test(one))).toEqual([])
      expect(answered).toBeGreaterThan(30)
      expect(await searches()).toBeGreaterThan(before)
      expect(await diary.found()).toEqual(mayRead)
    })

    test('answers by the other process while one is gone, and by both again', { timeout: slow }, async () => {
      await using asked = diary.ask()
      await sleep(3_000)
      await stand.podman('kill', container('remit-2'))
      await sleep(15_000)
      expect(await diary.found()).toEqual(mayRead)
      await stand.podman('start', container('remit-2'))
      await stand.healthy(container('remit-2'))
      const said = async () => stand.podman('logs', container('balancer'))
      await expect
        .poll(said, { timeout: 60_000, interval: 1_000 })
        .toMatch(/remit-2 is DOWN[\s\S]+remit-2 is UP, reason: Layer7 check passed/)
      await sleep(3_000)
      const { answered, failed } = await asked.end()
      // No more than what was under way at that moment, one question for each person.
      expect(failed.length).toBeLessThanOrEqual(diary.people.length)
      expect(answered).toBeGreaterThan(30)
    })

    test('is there again after `down` and `up`, with who may read what', { timeout: slow }, async () => {
      await keepLogs()
      await stand.compose('down')
      await stand.compose('up', '--detach', '--no-build')
      await answers({ url, stand })
      expect(await diary.found()).toEqual(mayRead)
      await whole()
      expect(await engine('/remit-*/_count')).toMatchObject(searchNodes.map(() => ({ count: 2 })))
    })
  })
}
