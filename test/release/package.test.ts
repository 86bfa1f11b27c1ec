import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, glob, mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { modelFolder } from '../e2e/process.ts'
import { native, needs } from '../support/native.ts'
import { freePort } from '../support/port.ts'
import { copyWorkspace } from '../support/workspace.ts'

// The service as somebody outside gets it: one file of `npm pack`, in an empty folder.
const root = fileURLToPath(new URL('../..', import.meta.url))
const modules = join(root, 'node_modules')
const run = promisify(execFile)
/** Installs from the registry, which takes minutes: set by `npm run full`. */
const installs = process.env['PACKAGE_INSTALLS'] !== undefined
const thisNode = { major: '24', node: process.execPath }

let folder: string
/** Where it is installed. */
let project: string
/** The package, installed. */
let installed: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-package-'))
  const workspace = join(folder, 'workspace')
  await copyWorkspace(workspace)
  await run(process.execPath, ['scripts/build.ts'], {
    cwd: workspace,
    env: { ...process.env, PATH: `${join(modules, '.bin')}${delimiter}${process.env['PATH']}` },
  })
  await run('npm', ['pack', join(workspace, 'dist'), '--pack-destination', folder], { cwd: folder })
  const [tarball = ''] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'))
  project = join(folder, 'project')
  installed = join(project, 'node_modules', 'remit')
  if (installs) {
    await mkdir(project)
    await run('npm', ['install', '--ignore-scripts', join(folder, tarball)], {
      cwd: project,
      env: on(thisNode),
    })
    return
  }
  await mkdir(installed, { recursive: true })
  await run('tar', ['xzf', join(folder, tarball), '-C', installed, '--strip-components=1'])
  const { dependencies } = await manifest()
  for (const name of Object.keys(dependencies)) {
    const link = join(project, 'node_modules', name)
    await mkdir(dirname(link), { recursive: true })
    await symlink(join(modules, name), link)
  }
  await mkdir(join(project, 'node_modules', '.bin'))
  // As npm does it.
  await chmod(join(installed, 'src/bin.js'), 0o755)
  await symlink(join(installed, 'src/bin.js'), join(project, 'node_modules', '.bin', 'remit'))
}, 900_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

const manifest = async () =>
  JSON.parse(await readFile(join(installed, 'package.json'), 'utf8')) as {
    readonly version: string
    readonly dependencies: Readonly<Record<string, string>>
  }

/** What a shell has in which this Node is the first: no settings of ours, and no program of the workspace. */
function on({ node }: { readonly node: string }): NodeJS.ProcessEnv {
  const { HOME, NODE_EXTRA_CA_CERTS, PATH = '' } = process.env
  const programs = PATH.split(delimiter).filter((path) => !path.includes('node_modules'))
  return {
    PATH: [dirname(node), ...programs].join(delimiter),
    ...(HOME !== undefined && { HOME }),
    ...(NODE_EXTRA_CA_CERTS !== undefined && { NODE_EXTRA_CA_CERTS }),
  }
}

describe('the package of the service', () => {
  test('holds no TypeScript, no test and no key, and the licences of all that is inside', async () => {
    const files: string[] = []
    for await (const file of glob('**', { cwd: installed })) files.push(file)
    const compiled = files.filter((file) => file.endsWith('.js'))
    expect(compiled.length).toBeGreaterThan(500)
    expect(
      files.filter((file) => /\.tsx?$|(^|\/)tests?(\/|$)|\.(key|jwks)\b|\.env(?!\.example$)/.test(file)),
    ).toEqual([])
    expect(await readFile(join(installed, 'LICENSE'), 'utf8')).toContain('Apache License')
    const licences = await readFile(join(installed, 'LICENSES-OF-OTHERS.txt'), 'utf8')
    for (const name of ['preact', 'uplot', '@codemirror/view', '@lezer/common'])
      expect(licences).toMatch(
        new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(MIT\\)\n\n(.*\n)*?.*Copyright`, 'm'),
      )
  })

  test('holds what docs tell its reader to use: every setting, what a superuser runs once, and a maker of key pairs', async () => {
    for (const path of ['.env.example', 'docker/record-owner.sql'])
      expect(await readFile(join(installed, path), 'utf8')).toBe(await readFile(join(root, path), 'utf8'))
    const cwd = await mkdtemp(join(folder, 'keys-'))
    await run(join(project, 'node_modules/.bin/remit'), ['client', 'key-pair', 'desk-app'], {
      cwd,
      env: on(thisNode),
    })
    expect((await readdir(cwd)).sort()).toEqual(['desk-app.jwks.json', 'desk-app.key.json'])
  })

  test('holds every page that a message or a setting of it names, and what its README leads to', async () => {
    const missing: string[] = []
    let count = 0
    const look = (file: string, page: string) => {
      count += 1
      if (!existsSync(join(installed, page))) missing.push(`${file}: ${page}`)
    }
    for await (const file of glob(['{src,packages}/**/*.js', '.env.example'], { cwd: installed }))
      for (const line of (await readFile(join(installed, file), 'utf8')).split('\n'))
        if (!/^\s*(\/\/|\/?\*)/.test(line))
          for (const [page] of line.matchAll(/\bdocs\/[\w/-]+\.md\b/g)) look(file, page)
    expect(count).toBeGreaterThan(40)
    const readme = await readFile(join(installed, 'README.md'), 'utf8')
    for (const [, page = ''] of readme.matchAll(/\]\(([\w/-]+\.md)/g)) look('README.md', page)
    expect(missing).toEqual([])
  })

  test('imports only files that are there, its dependencies and what Node has', async () => {
    const { dependencies } = await manifest()
    const known = new Set([
      ...Object.keys(dependencies),
      ...builtinModules.map((name) => `node:${name}`),
      'node:sqlite',
    ])
    const missing: string[] = []
    let count = 0
    for await (const file of glob('{src,packages/*/src}/**/*.js', { cwd: installed })) {
      const text = await readFile(join(installed, file), 'utf8')
      const base = pathToFileURL(join(installed, file))
      const imported = [
        ...text.matchAll(/^(?:import|export)\s(?:[\w*{}\s,$]*?\sfrom\s)?'([^']+)'|\bimport\('([^']+)'\)/gm),
      ]
      count += imported.length
      for (const [, at, later] of imported) {
        const specifier = at ?? later ?? ''
        const name = /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? ''
        if (specifier.startsWith('.') ? !existsSync(new URL(specifier, base)) : !known.has(name))
          missing.push(`${file}: ${specifier}`)
      }
      for (const [, path = ''] of text.matchAll(/new URL\('(\.[^']*)', import\.meta\.url\)/g))
        if (!existsSync(new URL(path, base))) missing.push(`${file}: ${path}`)
    }
    expect(missing).toEqual([])
    expect(count).toBeGreaterThan(2000)
  })

  test('says its version by what docs/install.md writes where a flag comes first, and tells of no other way', async () => {
    const ran = await run('npx', ['--no', '--', 'remit', '--version'], { cwd: project, env: on(thisNode) })
    expect(ran.stdout).toBe(`${(await manifest()).version}\n`)
    const eaten: string[] = []
    for await (const file of glob('{src,packages,docs}/**/*.{js,md}', { cwd: installed }))
      if (/npx --no [\w-]+ -/.test(await readFile(join(installed, file), 'utf8'))) eaten.push(file)
    expect(eaten).toEqual([])
  })

  test('names its own commands, and none of a clone', async () => {
    const clone: string[] = []
    for await (const file of glob('{src,packages}/**/*.js', { cwd: installed }))
      if (/npm (start|run (-s )?remit)\b/.test(await readFile(join(installed, file), 'utf8')))
        clone.push(file)
    expect(clone).toEqual([])
  })

  test('says where `remit start` would end for want of settings that `remit demo` needs none', async () => {
    const alone: string[] = []
    let count = 0
    for await (const file of glob('{src,packages}/**/*.js', { cwd: installed }))
      for (const [, rest = ''] of (await readFile(join(installed, file), 'utf8')).matchAll(
        /npx --no remit start(.{0,50})/g,
      )) {
        count += 1
        if (!rest.startsWith(', or demo without settings')) alone.push(`${file}:${rest}`)
      }
    expect(alone).toEqual([])
    expect(count).toBeGreaterThan(3)
  })

  test(
    'answers the first question of its demo, shows the console, and ends at Ctrl-C',
    () => demo(thisNode),
    300_000,
  )

  for (const [major, node] of Object.entries(native.olderNodes)) {
    const older = { major, node: node ?? '' }
    test(
      `says on Node ${major} that it takes a newer one, and how to get it`,
      needs(node !== undefined, `Node ${major} (NODE_${major}_PATH)`),
      async () => {
        const ran = run(join(project, 'node_modules/.bin/remit'), ['demo'], { cwd: project, env: on(older) })
        await expect(ran).rejects.toMatchObject({
          code: 1,
          stderr: expect.stringMatching(
            new RegExp(
              `^Remit runs on Node 24.7 or newer, and this is Node ${major}\\.[\\d.]+ Run \`npm rebuild node\` in this folder, then the same command again.\n$`,
            ),
          ),
        })
      },
    )
  }

  if (installs)
    test('brings the newer Node where it is asked to, and runs its demo beside Node 20 and 22', async () => {
      const older = Object.entries(native.olderNodes).map(([major, node]) => ({ major, node: node ?? '' }))
      for (const one of older) {
        await rm(join(project, 'node_modules/node/bin'), { recursive: true, force: true })
        await run('npm', ['rebuild', 'node'], { cwd: project, env: on(one) })
        await demo(one)
      }
    }, 900_000)
})

/** The two commands of the README, by the names of the package. */
async function demo(shell: { readonly major: string; readonly node: string }): Promise<void> {
  const { stdout: node } = await run('node', ['--version'], { cwd: project, env: on(shell) })
  expect(node).toMatch(new RegExp(`^v${shell.major}\\.`))
  const [port, opsPort] = [await freePort(), await freePort()]
  const home = await mkdtemp(join(folder, 'home-'))
  const env = {
    ...on(shell),
    HOME: home,
    npm_config_cache: join(folder, 'cache'),
    PORT: String(port),
    OPS_PORT: String(opsPort),
    // A named folder is the only place that is looked at: nothing is fetched.
    EMBEDDINGS_MODEL_PATH: modelFolder ?? home,
  }
  const service = spawn('npx', ['--no', 'remit', 'demo'], { cwd: project, env, detached: true })
  const ended = once(service, 'close')
  let said = ''
  for (const stream of [service.stdout, service.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  try {
    await expect.poll(() => said, { timeout: 240_000, interval: 200 }).toContain('Ctrl-C stops.')
    expect(said).toContain('npx --no remit token --user anne --agent research-bot')
    const url = `http://localhost:${port}`
    const token = async (user: string): Promise<string> =>
      (
        await run('npx', ['--no', 'remit', 'token', '--user', user, '--agent', 'research-bot'], {
          cwd: project,
          env,
        })
      ).stdout.trim()
    const ask = async (user: string) => {
      const answer = await fetch(`${url}/retrieve`, {
        method: 'POST',
        headers: { authorization: `Bearer ${await token(user)}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          query: 'What went wrong in the March pump recall, and what did it cost?',
          top_k: 1,
        }),
      })
      const { results } = (await answer.json()) as {
        readonly results: readonly { readonly document_id: string; readonly text: string }[]
      }
      return results
    }
    expect(await ask('anne')).toMatchObject([
      {
        document_id: 'finance/recall/recall-cost-2026.md',
        text: expect.stringContaining('What the March recall cost'),
      },
    ])
    expect(await ask('carol')).toEqual([])
    const page = await (await fetch(`${url}/console`)).text()
    const [, script = ''] = /<script[^>]* src="([^"]+\.js)"/.exec(page) ?? []
    const loaded = await fetch(new URL(script, `${url}/console`))
    expect([loaded.status, loaded.headers.get('content-type')]).toEqual([
      200,
      expect.stringContaining('javascript'),
    ])
    const { info } = (await (await fetch(`${url}/openapi.json`)).json()) as {
      readonly info: { readonly version: string }
    }
    expect(info.version).toBe((await manifest()).version)
    // A terminal sends it to all that run in front.
    process.kill(-(service.pid ?? 0), 'SIGINT')
    await ended
    expect(said).toContain('Stopping: open requests are finished first.')
  } finally {
    if (service.exitCode === null && service.signalCode === null) process.kill(-(service.pid ?? 0), 'SIGKILL')
    await ended
    await rm(join(project, '.remit'), { recursive: true, force: true })
  }
}
