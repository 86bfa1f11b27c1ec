import { exportsOf } from './measure/exports.ts'
import { functionsOf } from './measure/functions.ts'
import { arrowsBackUp, circlesOf, importsOf, withOneImporter } from './measure/imports.ts'
import { declaredIn, participles, vague } from './measure/names.ts'
import { codeLines, filesOf, parse, type Source, sourcesOf } from './measure/source.ts'

/**
 * What is counted for size alone: everything outside tests and benchmarks that a person wrote in TypeScript.
 */
const counted = /^(src|examples|scripts|packages\/[^/]+(\/src)?(?=\/[^/]+$)|packages\/[^/]+\/src)\/.*\.tsx?$/

/** The figures of a checkout by name, in the order in which they are printed. */
export function measure(root: string): Map<string, string | number> {
  const sources = sourcesOf(root)
  const functions = sources.flatMap(functionsOf)
  const lengths = functions.map(({ lines }) => lines).sort((a, b) => a - b)
  const names = sources.flatMap(declaredIn).map(({ name }) => name)
  const exported = sources.flatMap(exportsOf)
  const imports = importsOf(sources, true)
  const circles = circlesOf(imports).map(({ length }) => length)
  const hidden = functions.filter(({ captured }) => captured > 6)
  return new Map<string, string | number>([
    [
      'lines of code, outside tests and benchmarks',
      sum(filesOf(root, counted).map((path) => codeLines(parse(root, path)))),
    ],
    ['files of src and packages', sources.length],
    ['files over 300 lines', sources.filter(({ lines }) => lines.length > 300).length],
    ['functions', functions.length],
    [
      'lines of a function: median, p90, most',
      [0.5, 0.9, 1].map((share) => quantile(lengths, share)).join(', '),
    ],
    ['functions over 50 lines', lengths.filter((lines) => lines > 50).length],
    ['vague names', percent(names, (name) => vague.has(name))],
    ['bare participles', percent(names, (name) => participles.has(name))],
    ['closures over six captured variables', hidden.length],
    ['circles of imports, types included', `${circles.length} (${circles.join(', ')})`],
    ['circles of imports at run time', circlesOf(importsOf(sources, false)).length],
    ['arrows back up inside src/delegation', arrowsBackUp(imports, 'src/delegation').length],
    ['files with one importer', withOneImporter(imports).length],
    ['exports documented', percent(exported, ({ isDocumented }) => isDocumented)],
  ])
}

/** The places behind the figures, a line each, for whoever means to mend them. */
export function findingPlaces(root: string): string[] {
  const sources = sourcesOf(root)
  const imports = importsOf(sources, true)
  return [
    ...sources
      .filter(({ lines }) => lines.length > 300)
      .map(({ path, lines }) => `${path}: ${lines.length} lines`),
    ...longest(sources).map(({ path, name, lines }) => `${path}: ${name} has ${lines} lines`),
    ...sources
      .flatMap(functionsOf)
      .filter(({ captured }) => captured > 6)
      .map(({ path, name, captured }) => `${path}: ${name} captures ${captured} variables`),
    ...circlesOf(imports).map((circle) => `a circle of ${circle.length}: ${circle.join(' ')}`),
    ...arrowsBackUp(imports, 'src/delegation').map(
      ([from, to]) => `src/delegation: ${from} imports ${to} back up`,
    ),
    ...withOneImporter(imports).map((path) => `${path}: one importer`),
  ]
}

function longest(sources: readonly Source[]) {
  return sources
    .flatMap(functionsOf)
    .filter(({ lines }) => lines > 50)
    .sort((a, b) => b.lines - a.lines)
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

function percent<Each>(measured: readonly Each[], test: (entry: Each) => boolean): string {
  return `${((100 * measured.filter(test).length) / Math.max(1, measured.length)).toFixed(1)} %`
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

if (import.meta.main) {
  const roots = process.argv.slice(2).filter((argument) => argument !== '--places')
  const tables = (roots.length > 0 ? roots : ['.']).map(measure)
  for (const name of tables[0]?.keys() ?? [])
    console.log([name, ...tables.map((table) => table.get(name))].join(' | '))
  if (process.argv.includes('--places')) console.log(findingPlaces(roots[0] ?? '.').join('\n'))
}
