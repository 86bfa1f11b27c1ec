import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { modelFolder } from '../e2e/process.ts'
import { freePort } from '../support/port.ts'

export const root = fileURLToPath(new URL('../../', import.meta.url))
const images = join(root, 'scripts/images')
const compose = process.env['PODMAN_COMPOSE'] ?? 'podman-compose'
const isThere = (program: string) => spawnSync(program, ['--version']).status === 0

/** Whether this machine has what runs containers. */
export const runsContainers = (): boolean => isThere('podman') && isThere(compose)

/** The addresses of podman's bridges, by name. Containers remember them: scripts/images/podman. */
export const bridgeAddresses = (): Readonly<Record<string, string>> => {
  const devices = '/sys/class/net'
  const bridges = readdirSync(devices).filter((one) => existsSync(join(devices, one, 'bridge')))
  return Object.fromEntries(
    bridges.map((one) => [one, readFileSync(join(devices, one, 'address'), 'utf8').trim()]),
  )
}

/** A deployment of docker-compose.yml in containers, in a folder that holds what a clone gives it. */
export interface Stand extends AsyncDisposable {
  readonly folder: string
  readonly ports: Readonly<Record<'remit' | 'ops' | 'http' | 'https', number>>
  /** What was run and said so far. */
  readonly transcript: string[]
  /** What a program says; rejects with it where the program does not end with 0. */
  run(program: string, args: readonly string[], input?: string): Promise<string>
  podman(...args: readonly string[]): Promise<string>
  /** `docker compose …` of the files. */
  compose(...args: readonly string[]): Promise<string>
  /** Takes one more file of compose. */
  add(file: string): void
  /** A command in the container of a service. */
  inside(args: readonly string[], input?: string): Promise<string>
  /** A command of Remit in its container. */
  cli(...args: readonly string[]): Promise<string>
  /** Runs commands of a page as they stand there, but for images, which are built. */
  page(commands: string): Promise<string>
  /** Puts the weights, which cannot be fetched everywhere, into a volume. */
  putModel(volume: string): Promise<void>
  /** Waits until a container says of itself that it is well. */
  healthy(container: string): Promise<string>
  /** Builds an image, or a stage of it, of a checkout; or with IMAGES=built only says what its layers are. */
  build(image: string, stage?: string, checkout?: string): Promise<string>
  /** An image that differs from another by what a command of root's did. */
  derive(image: string, from: string, command: string): Promise<string>
}

/**
 * Has a shell run podman-compose for `docker compose`. It needs the name of a profile, and would wait for
 * every container where some are named.
 */
function asDocker(project: string, args: readonly string[]): string {
  const program = [compose, ...args].map((one) => `'${one}'`).join(' ')
  return `
docker() {
  shift
  case $1 in
    build) ;;
    run) ${program} --profile backup "$@" ;;
    up)
      for one do shift; [ "$one" = --wait ] || set -- "$@" "$one"; done
      ${program} "$@"
      for one do
        case $one in up | -*) ;; *) '${join(images, 'podman')}' wait --condition=healthy "${project}_$one""_1" ;; esac
      done ;;
    *) ${program} "$@" ;;
  esac
}`
}

export interface StandOptions {
  readonly project: string
  /** Files of compose. */
  readonly files: readonly string[]
  /** The one in whose container commands run. Default: `remit`. */
  readonly service?: string
  /** Written to `.env`. */
  readonly settings: (ports: Stand['ports']) => Readonly<Record<string, string | number>>
}

export async function openStand({
  project,
  files,
  service = 'remit',
  settings,
}: StandOptions): Promise<Stand> {
  const folder = mkdtempSync(join(tmpdir(), 'remit-test-'))
  const clone = join(folder, 'clone')
  mkdirSync(clone)
  const composed = [...files]
  const volumesMade: string[] = []
  for (const one of ['docker', ...files]) cpSync(join(root, one), join(clone, one), { recursive: true })
  const ports = {
    remit: await freePort(),
    ops: await freePort(),
    http: await freePort(),
    https: await freePort(),
  }
  const env = {
    ...process.env,
    CONTAINERS_CONF: join(images, 'containers.conf'),
    CONTAINERS_REGISTRIES_CONF: join(images, 'registries.conf'),
  }
  const all = {
    REMIT_PORT: ports.remit,
    REMIT_OPS_PORT: ports.ops,
    EMBEDDINGS_MODEL_PATH: '/var/lib/remit/model',
    // Other programs work beside it here, and several start at once: slow is not what is looked at.
    REQUEST_DEADLINE_MS: 30_000,
    WRITE_DEADLINE_MS: 60_000,
    ...settings(ports),
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}=${value}\n`)
  writeFileSync(join(clone, '.env'), lines.join(''))
  const transcript: string[] = []

  // Into a file: what a container's guard keeps open would hold a pipe.
  const run: Stand['run'] = async (program, args, input) => {
    const file = join(folder, `said-${transcript.length}`)
    const out = openSync(file, 'w')
    const started = performance.now()
    const child = spawn(program, args, { cwd: clone, env, stdio: ['pipe', out, out] })
    child.stdin?.end(input)
    const [code] = (await once(child, 'exit')) as [number | null]
    const said = readFileSync(file, 'utf8')
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    transcript.push(`$ ${program.split('/').at(-1)} ${args.join(' ')}   # ${seconds} s`, said.trim())
    if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${said}`)
    return said
  }
  const podman: Stand['podman'] = (...args) => run('podman', args)
  const composeArgs = () => [
    ...['--podman-path', join(images, 'podman'), '-p', project],
    ...composed.flatMap((one) => ['-f', one]),
  ]
  const composing: Stand['compose'] = (...args) => run(compose, [...composeArgs(), ...args])
  const inside: Stand['inside'] = (args, input) =>
    run('podman', ['exec', '-i', `${project}_${service}_1`, ...args], input)

  await run(join(images, 'bases.sh'), [])
  return {
    folder: clone,
    ports,
    transcript,
    run,
    podman,
    compose: composing,
    add(file) {
      cpSync(join(root, file), join(clone, file))
      composed.push(file)
    },
    inside,
    cli: (...args) => inside(['node', 'src/cli/main.js', ...args]),
    page: (commands) => run('sh', ['-xc', `${asDocker(project, composeArgs())}\n${commands}`]),
    async putModel(volume) {
      const copy = ['cp', '-r', '/model', '/var/lib/remit/model']
      const volumes = [
        '--volume',
        `${project}_${volume}:/var/lib/remit`,
        '--volume',
        `${modelFolder}:/model:ro`,
      ]
      volumesMade.push(`${project}_${volume}`)
      await podman('run', '--rm', ...volumes, `localhost/${project}_remit`, ...copy)
    },
    healthy: (container) => run(join(images, 'podman'), ['wait', '--condition=healthy', container]),
    build: (image, stage = '', checkout = root) =>
      process.env['IMAGES'] === 'built'
        ? run(join(images, 'sizes.sh'), [image])
        : run(join(images, 'build.sh'), [image, stage, checkout]),
    derive(image, from, command) {
      const build = ['build', '--format', 'docker', '--isolation', 'chroot', '--tag', image, '-']
      return run('podman', build, `FROM ${from}\nUSER root\nRUN ${command}\nUSER node`)
    },
    async [Symbol.asyncDispose]() {
      await composing('down', '--volumes').catch(() => undefined)
      // Made by us, before compose: it leaves that alone.
      for (const one of volumesMade) await podman('volume', 'rm', '--force', one).catch(() => undefined)
      mkdirSync(join(root, 'node_modules/.cache'), { recursive: true })
      writeFileSync(join(root, `node_modules/.cache/${project}.txt`), `${transcript.join('\n')}\n`)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
