import { readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { version } from '../../src/kernel/version.ts'
import { needs } from '../support/native.ts'
import { describeCluster } from './cluster.ts'
import { answers as answersAt, type Diary, keepDiary, mayRead, type Place } from './diary.ts'
import { onPage } from './page.ts'
import { answerOf, lend } from './people.ts'
import { openProxied } from './proxied.ts'
import { bridgeAddresses, openStand, root, runsContainers, type Stand } from './stand.ts'
import { newerVersion, twoProcesses } from './two.ts'
import { describeUpgrade } from './upgrade.ts'

// Minutes each: several programs start, on few cores.
const slow = 900_000
const podmanIsNeeded = 'podman and podman-compose (PODMAN_COMPOSE)'

test('every image that is run or built on has one that stands in for it', () => {
  const text = (path: string) => readFileSync(join(root, path), 'utf8')
  const files = ['', '.tls', '.two', '.backup', '.cluster'].map((one) => `docker-compose${one}.yml`)
  const run = files.flatMap((file) => [...text(file).matchAll(/^ {4}image: (?:&\w+ )?([^*\s]+)$/gm)])
  const built = [...text('Dockerfile').matchAll(/^FROM (\S+)/gm)]
  const names = new Set([...run, ...built].map(([, name = '']) => name.replace(/^(?=\w+:)/, 'library/')))
  expect(names.size).toBe(6)
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
      const image = `localhost/${project}_remit`
      let place: Place
      let stand: Stand
      let url: string
      let diary: Diary
      const answers = () => answersAt(place)

      beforeAll(async () => {
        place = await openProxied(project)
        ;({ stand, url } = place)
        await stand.build(image)
        await stand.build(`localhost/${project}_backup`, 'backup')
      }, 2 * slow)
      afterAll(() => stand?.[Symbol.asyncDispose](), slow)

      test('an agent answers each person with what that person may read, and with nothing else', {
        timeout: slow,
      }, async () => {
        await stand.putModel('remit-home')
        await stand.compose('up', '--detach', '--no-build')
        await answers()
        diary = await keepDiary(place)
        expect(await diary.found()).toEqual(mayRead)
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
        expect(await diary.found()).toEqual(mayRead)
      })

      test('its two processes are replaced one after the other, and no question fails meanwhile', {
        timeout: slow,
      }, async () => {
        const newer = `${image}:newer`
        stand.add('docker-compose.two.yml')
        await stand.podman('tag', image, `${image}-2`)
        await stand.compose('up', '--detach', '--no-build')
        for (const one of ['remit', 'remit-2']) await stand.healthy(`${project}_${one}_1`)
        const two = twoProcesses(stand, project, url)
        await two.newer(newer, image)
        expect(await two.versions()).toEqual([version])

        const bridges = bridgeAddresses()
        await using asked = diary.ask()
        await sleep(3_000)
        await two.replace('remit-2', newer)
        await two.replace('remit', newer)
        await two.ask()
        await sleep(3_000)
        const { answered, failed } = await asked.end()
        expect(failed).toEqual([])
        expect(bridgeAddresses()).toEqual(bridges)
        expect(answered).toBeGreaterThan(100)
        expect(await two.versions()).toEqual([newerVersion])
      })

      describe('backed up, lost with all its volumes, and restored', () => {
        const page = 'docs/containers.md'
        const heads = async () =>
          writeFileSync(join(stand.folder, 'heads.ndjson'), await stand.cli('audit', 'heads'))

        async function loseAll(): Promise<void> {
          await stand.compose('down', '--volumes')
          // Made by us, before compose: it leaves that alone.
          await stand.podman('volume', 'rm', '--force', `${project}_remit-home`)
          expect(await stand.podman('volume', 'ls', '--quiet')).not.toContain(project)
        }

        async function restored(access: '--access end' | '--access keep'): Promise<void> {
          await stand.putModel('remit-home')
          const commands = onPage(page, 'recover --against')
          expect(commands).toContain('--access end')
          const said = await stand.page(
            commands.replace(/from=.*/, 'from=/backups/first').replace('--access end', access),
          )
          expect(said).toContain('Nothing was written')
          expect(said).toContain('Restored, and closed')
          expect(said).toContain('older')
          await answers()
        }
        async function read(): Promise<Readonly<Record<string, readonly string[]>>> {
          const all: Record<string, readonly string[]> = {}
          for (const person of diary.people) all[person.user] = await answerOf(url, person)
          stand.transcript.push(`# people read ${JSON.stringify(all)}`)
          return all
        }

        test('each person reads what they read before, where nobody was taken off since', {
          timeout: 2 * slow,
        }, async () => {
          stand.add('docker-compose.backup.yml')
          const key = /^age1\w+$/m.exec(await stand.page(onPage(page, 'install -d')))?.[0] ?? ''
          const take = onPage(page, 'backup take').replace(/RECIPIENT=.*/, `RECIPIENT=${key}`)
          const taken = await stand.page(take.replace('$(date +%F)', 'first'))
          expect(taken).toMatch(/openfga: +(yes|true)/)
          await loseAll()
          await restored('--access keep')
          expect(await read()).toEqual(mayRead)
          // Nobody knows whether it was disabled since, or what was lent to it taken back.
          await stand.cli('agent', 'enable', diary.agent.id)
          for (const person of diary.people) await lend(url, diary.agent, person, 'collection:diary')
          expect(await diary.found()).toEqual(mayRead)
        })

        test('who was taken off after the backup does not count again, and the others do', {
          timeout: 2 * slow,
        }, async () => {
          await diary.ingest(['anne'])
          const since = { ...mayRead, bob: [] }
          expect(await read()).toEqual(since)
          await heads()
          await loseAll()
          await restored('--access end')
          expect(await read()).toEqual({ anne: [], bob: [] })
          await stand.cli('service', 'add', 'scribe', '--collection', 'diary')
          await diary.ingest(['anne'])
          expect(await read()).toEqual(since)
        })
      })
    },
  )

  describeUpgrade()
  describeCluster()
}
