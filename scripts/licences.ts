import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The licences of these packages, whole, as each asks for where a copy of it is given away. */
export function licenceTexts(modules: string, names: readonly string[]): string {
  const texts = names.map((name) => {
    const folder = join(modules, name)
    const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      readonly version: string
      readonly license: string
    }
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one))
    if (file === undefined) throw new Error(`${name} has no file of its licence.`)
    return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`
  })
  return texts.join(`\n${'-'.repeat(80)}\n\n`)
}

export interface Component {
  readonly 'bom-ref': string
  readonly name: string
}

export interface Lock {
  readonly packages: Readonly<
    Record<
      string,
      {
        readonly version?: string
        readonly license?: string
        readonly dev?: boolean
        readonly link?: boolean
      }
    >
  >
}

/** NAME@VERSION of all that is installed with the packages, or is inside one: `texts` are its licences. */
export function shippedOf(lock: Lock, texts: string): ReadonlySet<string> {
  const installed = Object.entries(lock.packages).flatMap(([path, { version, dev, link }]) =>
    path.includes('node_modules/') && dev !== true && link !== true ? [`${nameOf(path)}@${version}`] : [],
  )
  const inside = [...texts.matchAll(/^(@?[\w./-]+) (\d+\.\d+\.\d+\S*) \([\w.-]+\)$/gm)]
  return new Set([...installed, ...inside.map(([, name, version]) => `${name}@${version}`)])
}

/** One line each, by name. */
export function licenceList(lock: Lock, shipped: ReadonlySet<string>): string {
  const lines = Object.entries(lock.packages).map(
    ([path, { version, license = 'none named' }]) => [`${nameOf(path)}@${version}`, license] as const,
  )
  const listed = lines.filter(([name]) => shipped.has(name)).map(([name, licence]) => `${name}\t${licence}\n`)
  return [...new Set(listed)].sort().join('')
}

const nameOf = (path: string): string => path.split('node_modules/').at(-1) ?? ''
