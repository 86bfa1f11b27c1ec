import { execFile } from 'node:child_process'
import { cp, glob, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/**
 * Makes a package of this workspace fit for `npm pack`, and undoes that: in the workspace its exports are TypeScript, which
 * Node does not run below `node_modules`. Run by a package's `prepack` and `postpack`, in its folder.
 *
 * `before` compiles `src` to JavaScript and declarations, and writes a package.json that exports those. `after` brings the
 * package.json of the workspace back; so does `before`, where an earlier one was cut short.
 */

interface Manifest {
  readonly name: string
  readonly exports: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly [member: string]: unknown
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const source = 'node_modules/.source-package.json'
/** Its declarations are made part of the package that uses them: it is of this workspace alone. */
const contract = '@remit/contract'

async function before(): Promise<void> {
  await restore()
  const manifest = await readManifest('package.json')
  const folder = basename(process.cwd())
  await rm('dist', { recursive: true, force: true })
  await compile()
  // What it imports of another package is that package's to bring.
  for await (const compiled of glob('dist/*'))
    if (![folder, 'contract'].includes(basename(compiled))) await rm(compiled, { recursive: true })
  for await (const file of glob('dist/**/*.{js,d.ts}')) await mend(file, manifest)
  const bundled = Object.keys(manifest.dependencies ?? {}).filter((name) => name !== contract)
  for (const name of bundled)
    await cp(join(root, 'node_modules', name), join('node_modules', name), {
      recursive: true,
      dereference: true,
    })
  await cp(join(root, 'LICENSE'), 'LICENSE')
  await mkdir('node_modules', { recursive: true })
  await cp('package.json', source)
  await writeFile('package.json', `${JSON.stringify(released(manifest, folder, bundled), null, 2)}\n`)
}

async function after(): Promise<void> {
  const { bundleDependencies = [] } = await readManifest('package.json')
  await restore()
  for (const name of bundleDependencies as readonly string[])
    await rm(join('node_modules', name), { recursive: true, force: true })
  await rm('LICENSE', { force: true })
}

const restore = () => rename(source, 'package.json').catch(ignoreMissing)

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}

const readManifest = async (path: string): Promise<Manifest> =>
  JSON.parse(await readFile(path, 'utf8')) as Manifest

/** Into `dist/PACKAGE/src`, for each package whose sources it reaches. */
async function compile(): Promise<void> {
  try {
    await promisify(execFile)('tsc', ['--project', 'tsconfig.build.json'])
  } catch (error) {
    const { stdout } = error as { readonly stdout?: string }
    throw new Error(`It does not compile:\n${stdout}`, { cause: error })
  }
}

const imported = /(\bfrom\s*|\bimport\s*\(?\s*)(['"])([^'"]+)\2/g

/**
 * Lets each import of a compiled file end in a file that is there, and refuses whatever else than its dependencies and Node
 * a package would need.
 */
async function mend(file: string, { name, dependencies, peerDependencies }: Manifest): Promise<void> {
  const text = await readFile(file, 'utf8')
  const known = Object.keys({ ...dependencies, ...peerDependencies })
  const contractExports = text.includes(contract)
    ? (await readManifest('../contract/package.json')).exports
    : {}
  const mended = text.replaceAll(imported, (_, before: string, quote: string, specifier: string) => {
    const target = targetOf(specifier)
    if (target === undefined)
      throw new Error(`${name}: ${file} imports ${specifier}, which is no dependency.`)
    return `${before}${quote}${target}${quote}`
  })

  function targetOf(specifier: string): string | undefined {
    if (specifier.startsWith('.')) return specifier.replace(/\.ts$/, '.js')
    if (specifier === contract || specifier.startsWith(`${contract}/`)) {
      const path = contractExports[`.${specifier.slice(contract.length)}`]
      if (path === undefined) return undefined
      return relative(dirname(file), compiledOf(path, 'contract')).replace(/^(?!\.)/, './')
    }
    const isKnown = known.some((one) => specifier === one || specifier.startsWith(`${one}/`))
    return isKnown || specifier.startsWith('node:') ? specifier : undefined
  }
  await writeFile(file, mended)
}

/** `./src/a.ts` of a package → `dist/PACKAGE/src/a.js` */
const compiledOf = (path: string, folder: string): string =>
  join('dist', folder, path).replace(/\.ts$/, '.js')

function released(manifest: Manifest, folder: string, bundled: readonly string[]): object {
  const { scripts: _, exports, dependencies = {}, devDependencies: __, ...facts } = manifest
  const compiled = Object.entries(exports).map(([entry, path]) => {
    const file = `./${compiledOf(path, folder)}`
    return [entry, { types: file.replace(/\.js$/, '.d.ts'), default: file }]
  })
  return {
    ...facts,
    engines: { node: '>=20' },
    files: ['dist'],
    exports: Object.fromEntries(compiled) as object,
    dependencies: Object.fromEntries(bundled.map((name) => [name, dependencies[name]])) as object,
    // Nobody needs a registry to install it.
    bundleDependencies: bundled,
  }
}

const step = process.argv[2]
if (step === 'before') await before()
else if (step === 'after') await after()
else throw new Error('usage: node scripts/pack.ts before|after')
