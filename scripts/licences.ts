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
