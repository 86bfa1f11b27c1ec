import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = new URL('../', import.meta.url)
const text = (path: string): string => readFileSync(new URL(path, root), 'utf8')

/** What the image of the service holds: the paths that its last stage copies. */
function copied(): readonly string[] {
  const stage =
    text('Dockerfile')
      .split(/^FROM /m)
      .at(-1) ?? ''
  return [...stage.matchAll(/^COPY (?:--from=\S+ )?(.*) (\S+)$/gm)].flatMap(([, from = '', to = '']) =>
    from.split(' ').map((path) => (to === './' ? path : to)),
  )
}

const isWithin = (path: string, folders: readonly string[]): boolean =>
  folders.some((folder) => path === folder || path.startsWith(`${folder}/`))

describe('the image', () => {
  // The demo's company: the image listens on all addresses, where the demo is off.
  const demoOnly = ['sample']

  test('holds every file beside the sources that the service reads by its place', () => {
    const read = globSync('src/**/*.ts', { cwd: fileURLToPath(root) }).flatMap((file) =>
      [...text(file).matchAll(/new URL\('(\.[^']*)', import\.meta\.url\)/g)].map(([, path = '']) =>
        fileURLToPath(new URL(path, new URL(file, root)))
          .slice(fileURLToPath(root).length)
          .replace(/\/$/, ''),
      ),
    )
    expect(read).toEqual(expect.arrayContaining(['docs/errors', 'migrations', 'model.fga']))
    const missing = read.filter((path) => !isWithin(path, copied()) && !isWithin(path, demoOnly))
    expect(missing).toEqual([])
  })

  test('is built from nothing that .dockerignore keeps away', () => {
    const allowed = [...text('.dockerignore').matchAll(/^!(.*)$/gm)].map(([, path = '']) => path)
    const wanted = [...text('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, from = '']) =>
      from.split(' '),
    )
    expect(wanted).toContain('src')
    expect(wanted.filter((path) => !isWithin(path, allowed))).toEqual([])
  })
})
