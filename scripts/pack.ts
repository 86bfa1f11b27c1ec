import { execFile } from 'node:child_process'
import { cp, glob, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/**
 * Makes a package of this workspace fit for `npm pack`, and undoes that: in the workspace its exports are
 * TypeScript, which Node does not run below `node_modules`. Run by a package's `prepack` and `postpack`, in
 * its folder.
 *
 * `before` compiles `src` to JavaScript and declarations, and writes a package.json that exports those.
 * `after` brings the package.json of the workspace back; so does `before`, where an earlier one was cut
 * short.
 */

interface Manifest {
  readonly name: string
  readonly exports: Readonly<Record<string, string>>
  readonly bin?: Readonly<Record<string, string>>
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
  const entries = Object.values(manifest.exports).map((path) => compiledOf(path, folder))
  const programs = Object.values(manifest.bin ?? {}).map((path) => compiledOf(path, folder))
  const shipped = await ship([...entries, ...entries.map(declarationOf), ...programs], manifest)
  // Nothing reaches it: what is of another package, and what only types are taken of.
  for await (const file of glob('dist/**/*.{js,ts}')) if (!shipped.has(file)) await rm(file)
  const needed = Object.keys(manifest.dependencies ?? {}).filter((name) => name !== contract)
  const bundled = (await areAlone(needed)) ? needed : []
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

/** Whether none of them needs another: then they fit into the package, and it installs without a registry. */
async function areAlone(names: readonly string[]): Promise<boolean> {
  const manifests = await Promise.all(
    names.map((name) => readManifest(join(root, 'node_modules', name, 'package.json'))),
  )
  return manifests.every(({ dependencies = {} }) => Object.keys(dependencies).length === 0)
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

// Not the word in quotes, as `'import' | 'put'`.
const imported = /((?<!['"])\b(?:from\s*|import\s*\(?\s*))(['"])([^'"]+)\2/g

/**
 * Makes every file that these reach fit to be shipped, and gives all of them: each import ends in a file that
 * is there.
 *
 * @throws where one needs what is neither a dependency nor Node's.
 */
async function ship(entries: readonly string[], manifest: Manifest): Promise<ReadonlySet<string>> {
  const contractManifest = await readManifest('../contract/package.json')
  const shipped = new Set<string>()
  const queue = [...entries]
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (shipped.has(file)) continue
    shipped.add(file)
    queue.push(...(await mend(file, manifest, contractManifest)))
  }
  return shipped
}

/** Writes the file's imports anew. The files of this package that it reaches by them. */
async function mend(
  file: string,
  { name, dependencies, peerDependencies }: Manifest,
  contractManifest: Manifest,
): Promise<readonly string[]> {
  const text = await readFile(file, 'utf8')
  const isDeclaration = file.endsWith('.d.ts')
  const known = Object.keys({ ...dependencies, ...peerDependencies })
  const reached: string[] = []
  const relativeTo = (path: string) => relative(dirname(file), path).replace(/^(?!\.)/, './')
  const mended = text.replaceAll(imported, (_, before: string, quote: string, specifier: string) => {
    const target = targetOf(specifier)
    if (target === undefined)
      throw new Error(`${name}: ${file} imports ${specifier}, which is no dependency.`)
    if (target.startsWith('.')) {
      const path = join(dirname(file), target)
      reached.push(isDeclaration ? declarationOf(path) : path)
    }
    return `${before}${quote}${target}${quote}`
  })

  function targetOf(specifier: string): string | undefined {
    if (specifier.startsWith('.')) return specifier.replace(/\.ts$/, '.js')
    if (specifier.startsWith(`${contract}/`)) {
      const path = contractManifest.exports[`.${specifier.slice(contract.length)}`]
      return path && relativeTo(compiledOf(path, 'contract'))
    }
    if (known.some((one) => specifier === one || specifier.startsWith(`${one}/`))) return specifier
    return specifier.startsWith('node:') ? specifier : undefined
  }
  await writeFile(file, mended)
  return reached
}

/** `./src/a.ts` of a package → `dist/PACKAGE/src/a.js` */
const compiledOf = (path: string, folder: string): string =>
  join('dist', folder, path).replace(/\.ts$/, '.js')

const declarationOf = (path: string): string => path.replace(/\.js$/, '.d.ts')

function released(manifest: Manifest, folder: string, bundled: readonly string[]): object {
  const { scripts: _, exports, bin = {}, dependencies = {}, devDependencies: __, ...facts } = manifest
  const { [contract]: ___, ...others } = dependencies
  const programs = Object.entries(bin).map(([name, path]) => [name, compiledOf(path, folder)])
  const compiled = Object.entries(exports).map(([entry, path]) => {
    const file = `./${compiledOf(path, folder)}`
    return [entry, { types: declarationOf(file), default: file }]
  })
  return {
    ...facts,
    engines: { node: '>=20' },
    files: ['dist'],
    exports: Object.fromEntries(compiled) as object,
    ...(programs.length > 0 && { bin: Object.fromEntries(programs) as object }),
    dependencies: others,
    bundleDependencies: bundled,
  }
}

const step = process.argv[2]
if (step === 'before') await before()
else if (step === 'after') await after()
else throw new Error('usage: node scripts/pack.ts before|after')
