import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { modelFolder } from '../e2e/process.ts'
import { needs } from '../support/native.ts'
import { freePort } from '../support/port.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const images = join(root, 'scripts/images')
const project = 'remit-image-test'
const image = `localhost/${project}_remit`
// Minutes each: several programs start, on few cores.
const slow = 900_000
const compose = process.env['PODMAN_COMPOSE'] ?? 'podman-compose'
const isThere = (program: string) => spawnSync(program, ['--version']).status === 0

test('every image that is run or built on has one that stands in for it', () => {
  const text = (path: string) => readFileSync(join(root, path), 'utf8')
  const run = [...text('docker-compose.yml').matchAll(/^ {4}image: (?:&\w+ )?([^*\s]+)$/gm)]
  const built = [...text('Dockerfile').matchAll(/^FROM (\S+)/gm)]
  const names = new Set([...run, ...built].map(([, name = '']) => name.replace('node:', 'library/node:')))
  expect(names.size).toBe(3)
  const [, openfga = ''] = /^openfga_version=(\S+)/m.exec(text('scripts/images/bases.sh')) ?? []
  const made = text('scripts/images/bases.sh').replaceAll('$openfga_version', openfga)
  for (const name of names) expect(made).toContain(`docker.io/${name}`)
})

// IMAGES=1: minutes, as root.
if (process.env['IMAGES'] !== undefined)
  describe(
    'docker-compose.yml as it stands, in containers',
    needs(isThere('podman') && isThere(compose), 'podman and podman-compose (PODMAN_COMPOSE)'),
    () => {
      let folder: string
      let clone: string
      let ports: { readonly remit: number; readonly ops: number }
      let env: Record<string, string>
      const transcript: string[] = []

      /** What a program says. Into a file: what a container's guard keeps open would hold a pipe. */
      async function run(program: string, args: readonly string[], input?: string): Promise<string> {
        const file = join(folder, 'said')
        const out = openSync(file, 'w')
        const started = performance.now()
        const child = spawn(program, args, {
          cwd: clone,
          env: { ...process.env, ...env },
          stdio: ['pipe', out, out],
        })
        child.stdin?.end(input)
        const [code] = (await once(child, 'exit')) as [number | null]
        const said = readFileSync(file, 'utf8')
        const seconds = ((performance.now() - started) / 1000).toFixed(1)
        transcript.push(`$ ${program.split('/').at(-1)} ${args.join(' ')}   # ${seconds} s`, said.trim())
        if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${said}`)
        return said
      }
      const podman = (...args: readonly string[]) => run('podman', args)
      const up = (...args: readonly string[]) =>
        run(compose, ['--podman-path', join(images, 'podman'), '-p', project, ...args])
      const inside = (args: readonly string[], input?: string) =>
        run('podman', ['exec', '-i', `${project}_remit_1`, ...args], input)
      const cli = (...args: readonly string[]) => inside(['node', 'src/cli/main.js', ...args])

      /** By the published port, as a proxy asks that has ended TLS: with the public name. */
      const status = () =>
        new Promise<number | undefined>((resolve) => {
          const headers = { host: 'remit.example.com' }
          get({ host: '127.0.0.1', port: ports.remit, path: '/healthz', headers }, (response) => {
            response.resume()
            resolve(response.statusCode)
          }).on('error', () => resolve(undefined))
        })
      async function answers(): Promise<void> {
        const started = performance.now()
        await expect.poll(status, { timeout: 240_000, interval: 500 }).toBe(200)
        transcript.push(`# answers after ${((performance.now() - started) / 1000).toFixed(1)} s`)
      }

      async function keepsAll(): Promise<void> {
        expect(await cli('admin', 'list')).toContain('user:kim')
        expect(await cli('collection', 'list')).toContain('diary')
      }

      beforeAll(async () => {
        folder = mkdtempSync(join(tmpdir(), 'remit-test-'))
        clone = join(folder, 'clone')
        mkdirSync(clone)
        for (const one of ['docker', 'docker-compose.yml'])
          cpSync(join(root, one), join(clone, one), { recursive: true })
        ports = { remit: await freePort(), ops: await freePort() }
        env = {
          CONTAINERS_CONF: join(images, 'containers.conf'),
          CONTAINERS_REGISTRIES_CONF: join(images, 'registries.conf'),
        }
        const settings = {
          PUBLIC_URL: 'https://remit.example.com',
          REMIT_PORT: ports.remit,
          REMIT_OPS_PORT: ports.ops,
          EMBEDDINGS_MODEL_PATH: '/var/lib/remit/model',
        }
        const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`)
        writeFileSync(join(clone, '.env'), lines.join(''))
        await run(join(images, 'bases.sh'), [])
        if (process.env['IMAGES'] !== 'built') await run(join(images, 'build.sh'), [image])
        else await run(join(images, 'sizes.sh'), [image])
      }, 2 * slow)
      afterAll(async () => {
        if (folder === undefined) return
        await up('down', '--volumes').catch(() => undefined)
        mkdirSync(join(root, 'node_modules/.cache'), { recursive: true })
        writeFileSync(join(root, 'node_modules/.cache/images.txt'), `${transcript.join('\n')}\n`)
        rmSync(folder, { recursive: true, force: true })
      }, slow)

      test('its own layers stay below 300 MB', () => {
        const ours = /our layers: ([\d.]+) MB/.exec(transcript.join('\n'))?.[1]
        expect(Number(ours)).toBeGreaterThan(50)
        expect(Number(ours)).toBeLessThan(300)
      })

      test('starts from nothing, and has a first administrator and a collection', {
        timeout: slow,
      }, async () => {
        // The weights, which cannot be fetched everywhere.
        const model = [
          '--volume',
          `${modelFolder}:/model:ro`,
          image,
          'cp',
          '-r',
          '/model',
          '/var/lib/remit/model',
        ]
        await podman('run', '--rm', '--volume', `${project}_remit-home:/var/lib/remit`, ...model)
        await up('up', '--detach', '--no-build')
        await answers()
        expect(await podman('logs', `${project}_remit_1`)).not.toContain('KEYWORD MODE')
        await cli('person', 'add', 'kim', '--name', 'Kim Lindqvist')
        expect(await cli('password', 'kim')).toMatch(/^[\w-]{20}$/m)
        await cli('admin', 'add', 'kim', '--role', 'security.read')
        await cli('collection', 'add', 'diary', '--title', 'Diary')
      })

      test('runs as nobody in particular, on a root that it cannot write', { timeout: slow }, async () => {
        const status = await inside([
          'sh',
          '-c',
          'id -u; grep -E "^(CapEff|CapBnd|NoNewPrivs)" /proc/1/status',
        ])
        expect(status).toBe('1000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n')
        await expect(inside(['touch', '/app/x'])).rejects.toThrow('Read-only file system')
        const runtimes = await inside(['sh', '-c', 'ls -d node_modules/onnxruntime-node/bin/*/*/*'])
        expect(runtimes.trim().split('\n')).toEqual([expect.stringMatching(`/linux/${process.arch}$`)])
        const nodes = 'find /app /usr -xdev -name node -type f -size +1M'
        expect(await inside(['sh', '-c', nodes])).toBe('/usr/local/bin/node\n')
        await podman('healthcheck', 'run', `${project}_remit_1`)
      })

      test('has its data after a restart', {
        timeout: slow,
      }, async () => {
        await podman('restart', '--time', '30', `${project}_remit_1`)
        await answers()
        await keepsAll()
      })
    },
  )
