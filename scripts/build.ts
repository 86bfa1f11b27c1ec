import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build as buildConsole } from '../packages/console/build.ts'
import { licenceTexts } from './licences.ts'

/**
 * Makes the service as it is given away, in `dist`: JavaScript, its own packages inside, the console, and
 * what it reads by its place. Every file lies where it lies in the workspace, so that no path differs.
 */

interface Manifest {
  readonly name: string
  readonly exports: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly [member: string]: unknown
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(root, 'dist')
/** Those that the service imports. The console is built apart: it is a page. */
const packages = ['client', 'connector', 'contract', 'engine', 'vector-index']

const readManifest = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest

const manifests = new Map(packages.map((name) => [`@remit/${name}`, readManifest(`packages/${name}`)]))

rmSync(dist, { recursive: true, force: true })
execFileSync('tsc', ['--project', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
copy('model.fga', 'model.fga.yaml', 'model.allow-list.yaml', 'LICENSE', 'sample', 'docs/errors')
copy('.env.example', 'docker/record-owner.sql')
// Messages and settings name them.
copy('docs/flows', ...globSync('docs/*.md', { cwd: root }))
copy(...globSync('migrations/[0-9]*.sql', { cwd: root }))
copy(...globSync(['src/**/*.{js,svg,png,php,txt}', 'packages/vector-index/src/*.wasm'], { cwd: root }))
const inConsole = await buildConsole()
copy('packages/console/dist')
for (const file of globSync('**/*.js', { cwd: dist })) mend(file)
writeFileSync(join(dist, 'package.json'), `${JSON.stringify(released(), null, 2)}\n`)
chmodSync(join(dist, 'src/bin.js'), 0o755)
writeFileSync(join(dist, 'LICENSES-OF-OTHERS.txt'), licenceTexts(join(root, 'node_modules'), inConsole))
writeFileSync(
  join(dist, 'README.md'),
  readFileSync(join(root, 'docs/install.md'), 'utf8').replaceAll(/\]\((?=[\w-]+\.md)/g, '](docs/'),
)

/** What the compiler leaves: our own packages' names, the workers' files, and the commands of a clone. */
function mend(file: string): void {
  const path = join(dist, file)
  const text = readFileSync(path, 'utf8')
    .replaceAll(
      /(?<=(?:from|import\() ?')(@remit\/[\w-]+)([^']*)(?=')/g,
      (_, name: string, entry: string) => {
        const target = manifests.get(name)?.exports[`.${entry}`]
        if (target === undefined) throw new Error(`${file} imports ${name}${entry}, which is not there.`)
        const to = join(name.replace('@remit', 'packages'), target.replace(/\.ts$/, '.js'))
        return relative(dirname(file), to).replace(/^(?!\.)/, './')
      },
    )
    .replaceAll(/(?<=new URL\('\.\/[\w-]+)\.ts(?=', import\.meta\.url\))/g, '.js')
    // Whoever installed it has no scripts of a clone. In another folder npx without `--no` fetches
    // somebody else's program.
    .replaceAll(/npm run (?:-s )?remit --/g, 'npx --no remit')
    // Without settings `npm start` is the demo, and `remit start` ends. That comes first all the same: a demo
    // on the folder of a service would give out tokens.
    .replaceAll('npm start', 'npx --no remit start, or demo without settings')
  writeFileSync(path, text)
}

function copy(...paths: readonly string[]): void {
  for (const path of paths) {
    mkdirSync(dirname(join(dist, path)), { recursive: true })
    cpSync(join(root, path), join(dist, path), { recursive: true })
  }
}

function released(): object {
  const { name, version, description, license, type, engines, bin, dependencies = {} } = readManifest('.')
  const all = Object.assign({}, dependencies, ...[...manifests.values()].map((one) => one.dependencies))
  const others = Object.entries(all as Readonly<Record<string, string>>).filter(
    ([one]) => !manifests.has(one),
  )
  return {
    ...{ name, version, description, license, private: true, type, engines },
    bin: JSON.parse(JSON.stringify(bin).replaceAll('.ts"', '.js"')) as object,
    dependencies: Object.fromEntries(others.sort(([a], [b]) => (a < b ? -1 : 1))),
  }
}
