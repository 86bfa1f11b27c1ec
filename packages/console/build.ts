import { globSync } from 'node:fs'
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/**
 * Makes `dist/`: the page, and its files under names that change with what is in them. Returns the packages
 * of others that went into it.
 */
export async function build(): Promise<readonly string[]> {
  const { build: bundle, stop } = await import('esbuild')
  // Under a name of its own until it is whole: a service may be running from what is there.
  const folder = pathOf(`dist-${process.pid}`)
  try {
    const { metafile } = await bundle({
      entryPoints: [pathOf('src/main.tsx')],
      outdir: folder,
      entryNames: '[name]-[hash]',
      chunkNames: '[name]-[hash]',
      bundle: true,
      splitting: true,
      format: 'esm',
      target: 'es2023',
      minify: true,
      jsx: 'automatic',
      jsxImportSource: 'preact',
      metafile: true,
      legalComments: 'none',
    })
    const outputs = Object.entries(metafile.outputs)
    const [script, { cssBundle = '' } = {}] =
      outputs.find(([, { entryPoint }]) => entryPoint?.endsWith('src/main.tsx')) ?? []
    const page = (await readFile(pathOf('src/index.html'), 'utf8'))
      .replace('%SCRIPT%', basename(script ?? ''))
      .replace('%STYLE%', basename(cssBundle))
    await mkdir(folder, { recursive: true })
    await writeFile(`${folder}/index.html`, page)
    await rm(pathOf('dist'), { recursive: true, force: true })
    await rename(folder, pathOf('dist')).catch(async (error: unknown) => {
      // Another process was as quick, with the same.
      if (!(await isBuilt())) throw error
    })
    const names = Object.keys(metafile.inputs).map(
      (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1],
    )
    return [...new Set(names.filter((name) => name !== undefined))].sort()
  } finally {
    await rm(folder, { recursive: true, force: true })
    await stop()
  }
}

/** Makes it where it is missing, or older than what it is made of. */
export async function buildIfOlder(): Promise<void> {
  if (!(await isBuilt())) await build()
}

async function isBuilt(): Promise<boolean> {
  const sources = globSync(
    ['{src,../client/src,../contract/src}/**/*', 'build.ts', '../../package-lock.json'],
    {
      cwd: pathOf('.'),
    },
  )
  const times = sources.map(async (name) => (await stat(pathOf(name))).mtimeMs)
  const built = await stat(pathOf('dist/index.html')).catch(() => undefined)
  return built !== undefined && Math.max(...(await Promise.all(times))) <= built.mtimeMs
}

if (import.meta.main) await build()
