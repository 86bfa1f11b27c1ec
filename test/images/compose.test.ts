import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificateFor } from '../support/certificate.ts'
import { needs } from '../support/native.ts'
import {
  type Agent,
  addAgent,
  addPerson,
  answer,
  atHome,
  clientKey,
  exchanged,
  lend,
  type Person,
} from './people.ts'
import { openStand, root, runsContainers, type Stand } from './stand.ts'

// Minutes each: several programs start, on few cores.
const slow = 900_000
const podmanIsNeeded = 'podman and podman-compose (PODMAN_COMPOSE)'

test('every image that is run or built on has one that stands in for it', () => {
  const text = (path: string) => readFileSync(join(root, path), 'utf8')
  const files = ['docker-compose.yml', 'docker-compose.tls.yml']
  const run = files.flatMap((file) => [...text(file).matchAll(/^ {4}image: (?:&\w+ )?([^*\s]+)$/gm)])
  const built = [...text('Dockerfile').matchAll(/^FROM (\S+)/gm)]
  const names = new Set([...run, ...built].map(([, name = '']) => name.replace(/^(?=\w+:)/, 'library/')))
  expect(names.size).toBe(4)
  const script = text('scripts/images/bases.sh')
  const versions = [...script.matchAll(/^(\w+_version)=(\S+)$/gm)]
  const made = versions.reduce((all, [, name, version = '']) => all.replaceAll(`$${name}`, version), script)
  for (const name of names) expect(made).toContain(`docker.io/${name}`)
})

// IMAGES=1: minutes, as root.
if (process.env['IMAGES'] !== undefined) {
  describe('docker-compose.yml as it stands, in containers', needs(runsContainers(), podmanIsNeeded), () => {
    const project = 'remit-image-test'
    let stand: Stand

    /** By the published port, as a proxy asks that has ended TLS: with the public name. */
    const status = () =>
      new Promise<number | undefined>((resolve) => {
        const headers = { host: 'remit.example.com' }
        get({ host: '127.0.0.1', port: stand.ports.remit, path: '/healthz', headers }, (response) => {
          response.resume()
          resolve(response.statusCode)
        }).on('error', () => resolve(undefined))
      })
    async function answers(): Promise<void> {
      const started = performance.now()
      await expect.poll(status, { timeout: 240_000, interval: 500 }).toBe(200)
      stand.transcript.push(`# answers after ${((performance.now() - started) / 1000).toFixed(1)} s`)
    }

    async function keepsAll(): Promise<void> {
      expect(await stand.cli('admin', 'list')).toContain('user:kim')
      expect(await stand.cli('collection', 'list')).toContain('diary')
    }

    beforeAll(async () => {
      stand = await openStand({
        project,
        files: ['docker-compose.yml'],
        settings: () => ({ PUBLIC_URL: 'https://remit.example.com' }),
      })
      await stand.build(`localhost/${project}_remit`)
    }, 2 * slow)
    afterAll(() => stand?.[Symbol.asyncDispose](), slow)

    test('its own layers stay below 300 MB', () => {
      const ours = /our layers: ([\d.]+) MB/.exec(stand.transcript.join('\n'))?.[1]
      expect(Number(ours)).toBeGreaterThan(50)
      expect(Number(ours)).toBeLessThan(300)
    })

    test('starts from nothing, and has a first administrator and a collection', {
      timeout: slow,
    }, async () => {
      const { cli, compose, podman } = stand
      await stand.putModel('remit-home')
      await compose('up', '--detach', '--no-build')
      await answers()
      expect(await podman('logs', `${project}_remit_1`)).not.toContain('KEYWORD MODE')
      await cli('person', 'add', 'kim', '--name', 'Kim Lindqvist')
      expect(await cli('password', 'kim')).toMatch(/^[\w-]{20}$/m)
      await cli('admin', 'add', 'kim', '--role', 'security.read')
      await cli('collection', 'add', 'diary', '--title', 'Diary')
    })

    test('runs as nobody in particular, on a root that it cannot write', { timeout: slow }, async () => {
      const { inside, podman } = stand
      const status = await inside(['sh', '-c', 'id -u; grep -E "^(CapEff|CapBnd|NoNewPrivs)" /proc/1/status'])
      expect(status).toBe('1000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n')
      await expect(inside(['touch', '/app/x'])).rejects.toThrow('Read-only file system')
      const runtimes = await inside(['sh', '-c', 'ls -d node_modules/onnxruntime-node/bin/*/*/*'])
      expect(runtimes.trim().split('\n')).toEqual([expect.stringMatching(`/linux/${process.arch}$`)])
      const nodes = 'find /app /usr -xdev -name node -type f -size +1M'
      expect(await inside(['sh', '-c', nodes])).toBe('/usr/local/bin/node\n')
      await podman('healthcheck', 'run', `${project}_remit_1`)
    })

    test('has its data after a restart', { timeout: slow }, async () => {
      await stand.podman('restart', '--time', '30', `${project}_remit_1`)
      await answers()
      await keepsAll()
    })
  })

  describe(
    'docker-compose.tls.yml before it, asked by its public address',
    needs(runsContainers(), podmanIsNeeded),
    () => {
      const project = 'remit-tls-test'
      let stand: Stand
      let url: string
      let ca: string
      const people: Person[] = []
      let agent: Agent
      const texts = { anne: 'An otter was seen by the river.', both: 'An otter was seen at the mill.' }

      /** As whoever asks who has nothing but the address. */
      async function answers(): Promise<void> {
        const started = performance.now()
        const status = async () => (await fetch(`${url}/healthz`).catch(() => undefined))?.status
        await expect.poll(status, { timeout: 240_000, interval: 500 }).toBe(200)
        stand.transcript.push(`# answers after ${((performance.now() - started) / 1000).toFixed(1)} s`)
      }
      /** What the agent finds for each person who signs in. */
      async function found(): Promise<Readonly<Record<string, readonly string[]>>> {
        const all: Record<string, readonly string[]> = {}
        for (const person of people) all[person.user] = await answer(url, await exchanged(url, agent, person))
        stand.transcript.push(`# the agent finds ${JSON.stringify(all)}`)
        return all
      }
      const mayRead = { anne: [texts.both, texts.anne], bob: [texts.both] }

      beforeAll(async () => {
        stand = await openStand({
          project,
          files: ['docker-compose.yml', 'docker-compose.tls.yml'],
          settings: ({ remit, http, https }) => ({
            REMIT_PORT: `127.0.0.1:${remit}`,
            PUBLIC_URL: `https://localhost:${https}`,
            HTTPS_PORT: https,
            HTTP_PORT: http,
            PROXY_TLS: 'tls /etc/caddy/cert.pem /etc/caddy/key.pem',
          }),
        })
        url = `https://localhost:${stand.ports.https}`
        const { key, cert } = certificateFor('localhost')
        ca = join(stand.folder, 'docker/proxy/cert.pem')
        writeFileSync(ca, cert)
        writeFileSync(join(stand.folder, 'docker/proxy/key.pem'), key)
        setDefaultCACertificates([...getCACertificates('default'), cert])
        await stand.build(`localhost/${project}_remit`)
      }, 2 * slow)
      afterAll(() => stand?.[Symbol.asyncDispose](), slow)

      test('an agent answers each person with what that person may read, and with nothing else', {
        timeout: slow,
      }, async () => {
        const { cli, compose, folder, inside } = stand
        await stand.putModel('remit-home')
        await compose('up', '--detach', '--no-build')
        await answers()
        for (const user of ['anne', 'bob']) people.push({ user, password: await addPerson(stand, user) })
        await cli('collection', 'add', 'diary', '--title', 'Diary')
        await cli('service', 'add', 'scribe', '--collection', 'diary')
        const { jwk, jwks } = await clientKey()
        const add = 'client add scribe-app --kind service --of scribe --title Scribe --jwks /dev/stdin'
        await inside(['node', 'src/cli/main.js', ...add.split(' ')], jwks)
        writeFileSync(join(folder, 'scribe-app.key.json'), JSON.stringify(jwk), { mode: 0o600 })
        for (const [name, text] of Object.entries(texts)) {
          mkdirSync(join(folder, name))
          writeFileSync(join(folder, name, `${name}.txt`), text)
        }
        const scribe = `--collection diary --client scribe-app --key scribe-app.key.json --url ${url}`
        const ingest = (name: string, viewers: string) =>
          atHome(folder, ca, `ingest ${name} ${scribe} ${viewers}`.split(' '))
        expect(await ingest('anne', '--viewer user:anne')).toContain('1 of 1 file is in diary')
        expect(await ingest('both', '--viewer user:anne --viewer user:bob')).toContain(
          '1 of 1 file is in diary',
        )
        agent = await addAgent(stand, 'helper')
        for (const person of people) await lend(url, agent, person, 'collection:diary')
        expect(await found()).toEqual(mayRead)
      })

      test('is reached by the proxy from outside, and by its own port from this machine alone', {
        timeout: slow,
      }, async () => {
        expect(await stand.podman('port', `${project}_remit_1`, '8787')).toBe(
          `127.0.0.1:${stand.ports.remit}\n`,
        )
        expect(await stand.podman('port', `${project}_proxy_1`)).toContain(`0.0.0.0:${stand.ports.https}`)
      })

      test('is there again after `down` and `up`, with who may read what', { timeout: slow }, async () => {
        await stand.compose('down')
        await stand.compose('up', '--detach', '--no-build')
        await answers()
        expect(await found()).toEqual(mayRead)
      })
    },
  )
}
