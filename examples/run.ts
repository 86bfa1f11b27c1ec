/** Runs one of these programs by its name: `npm run -s example -- NAME [ARGUMENT]`. */
import { AssertionError } from 'node:assert'
import { globSync } from 'node:fs'

const folder = new URL('./', import.meta.url)
const names = globSync(['*.ts', '*/*.ts'], { cwd: folder }).map((file) => file.replace(/\.ts$/, ''))
const [name = ''] = process.argv.splice(2, 1)
if (names.includes(name) && name !== 'run')
  await import(new URL(`${name}.ts`, folder).href).catch((error: unknown) => {
    // A sentence that an example ends with is for whoever runs it.
    console.error(error instanceof AssertionError && !error.generatedMessage ? error.message : String(error))
    process.exitCode = 1
  })
else {
  console.error(`There is no example ${name}. What there is: examples/README.md`)
  process.exitCode = 1
}
