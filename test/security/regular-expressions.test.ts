import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseAst } from 'vitest/node'
import fc from '../support/properties.ts'

// Whatever faces input takes time that grows with it, no faster: else some kilobytes stop everybody.

interface Found {
  readonly place: string
  readonly expression: RegExp
}

const root = new URL('../../', import.meta.url)
const files = globSync(['src/**/*.{ts,js}', 'packages/*/src/**/*.{ts,tsx,js}'], { cwd: root.pathname })

/** Written as a literal, and how many are put together from text, which no reader of the source sees. */
function expressionsIn(file: string): { readonly literal: readonly Found[]; readonly made: number } {
  const text = readFileSync(new URL(file, root), 'utf8')
  const literal: Found[] = []
  let made = 0
  const see = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    const { type, regex, callee, start } = node as {
      readonly type?: string
      readonly regex?: { readonly pattern: string; readonly flags: string }
      readonly callee?: { readonly name?: string }
      readonly start?: number
    }
    if (regex !== undefined) {
      const line = text.slice(0, start).split('\n').length
      literal.push({ place: `${file}:${line}`, expression: new RegExp(regex.pattern, regex.flags) })
    }
    if ((type === 'NewExpression' || type === 'CallExpression') && callee?.name === 'RegExp') made += 1
    for (const member of Object.values(node)) see(member)
  }
  see(parseAst(text, { lang: file.endsWith('x') ? 'tsx' : file.endsWith('.js') ? 'js' : 'ts' }))
  return { literal, made }
}

/** Those that the module puts together while it is loaded. */
async function madeBy(file: string): Promise<Found[]> {
  const found: Found[] = []
  const real = globalThis.RegExp
  globalThis.RegExp = new Proxy(real, {
    construct(target, args, made) {
      const expression = Reflect.construct(target, args, made) as RegExp
      if (new Error('where').stack?.split('\n')[2]?.includes(file) === true)
        found.push({ place: file, expression })
      return expression
    },
  })
  try {
    await import(new URL(file, root).href)
  } finally {
    globalThis.RegExp = real
  }
  return found
}

const everyday = ['a', 'A', '0', '_', '-', '.', '/', ' ', '\t', '\n', '\u00a0', '😀']

/** What it may match, where that can be made up: as if it looked neither ahead nor back. */
function samplesOf({ source, flags }: RegExp): readonly string[] {
  try {
    const plain = new RegExp(source.replaceAll(/\(\?<?[=!]/g, '(?:'), flags.replaceAll(/[gy]/g, ''))
    return fc.sample(fc.stringMatching(plain, { size: 'small' }), { seed: 1, numRuns: 3 })
  } catch {
    return []
  }
}

/** A beginning, what is repeated, and an end that may spoil the match. */
type Attack = readonly [before: string, repeated: string, end: string]

function* attacksOn(expression: RegExp): Generator<Attack> {
  const { source } = expression
  const own = new Set(source.replaceAll(/\\[a-zA-Z]/g, ''))
  const ends = ['', '\0', '\n', ...[...own].filter((one) => /[^\w\\]/.test(one)).slice(-4)]
  const words = [...new Set(source.replaceAll(/\\[a-zA-Z]/g, ' ').match(/\w{2,}/g))]
  for (const one of [...own, ...everyday, ...words, ...words.map((word) => `${word}-`)])
    for (const end of ends) yield ['', one, end]
  for (const sample of samplesOf(expression)) {
    const step = Math.max(1, Math.floor(sample.length / 6))
    for (let at = 0; at < sample.length; at += step)
      for (const length of [1, sample.length])
        for (const end of ['', '\0', sample.slice(at + length)])
          yield [sample.slice(0, at), sample.slice(at, at + length), end]
  }
}

function milliseconds(expression: RegExp, [before, repeated, end]: Attack, size: number): number {
  const text = before + repeated.repeat(Math.ceil(size / repeated.length)) + end
  const began = performance.now()
  if (expression.global) Array.from(text.matchAll(expression))
  else expression.exec(text)
  return performance.now() - began
}

const least = (measure: () => number): number => Math.min(measure(), measure(), measure())

/** Far above what any of these sizes takes in one go, far below what they take in goes from each place. */
const noticed = 1
const sizeMax = 4_096
/** In steps: what doubles with each letter never ends. */
const sizes = [2, 6, 10, 14, 18, 22, 26, 64, 256, sizeMax]

/** Whether it takes much more than twice as long for twice as much. */
function isWorseThanLinear(expression: RegExp, attack: Attack): boolean {
  for (const size of sizes) {
    if (milliseconds(expression, attack, size) < noticed) continue
    const once = least(() => milliseconds(expression, attack, size))
    if (once < noticed) continue
    return size < sizeMax || least(() => milliseconds(expression, attack, 4 * size)) > 8 * once
  }
  return false
}

/** Without a loop it cannot. */
const isBounded = ({ source }: RegExp): boolean => !/[*+]|,\}/.test(source)

function shown({ place, expression }: Found): string[] {
  if (isBounded(expression)) return []
  for (const attack of attacksOn(expression))
    if (isWorseThanLinear(expression, attack)) return [`${place} ${expression} ${JSON.stringify(attack)}`]
  return []
}

/** `(?<=;\s*)`: what one version of V8 looks for first, the next may look back from at every place. */
const looksFarBack = ({ source }: RegExp): boolean =>
  /\(\?<[=!][^)]*[*+}]/.test(
    source.replaceAll(/\[(?:\\.|[^\]\\])*\]/g, 'c').replaceAll(/\\[pP]\{\w+\}|\\./g, 'e'),
  )

test.each([
  /\/+$/,
  /\s*\n\s*/g,
  /^\d+\.?\d*(?:ms|s)$/,
  /^#[ \t]+(.+?)[ \t#]*$/m,
  /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g,
  /[^#:\s]+$/,
  /^(a+)+$/,
  /name="([^"]*,)*[^"]*x"/,
])('%s is noticed', (expression) => {
  expect(shown({ place: 'here', expression })).toHaveLength(1)
})

test('an expression that looks back over any length is noticed', () => {
  expect(looksFarBack(/(?<=^|;\s*)a/)).toBe(true)
  expect(looksFarBack(/(?<![#*0-9]|\p{Lu})a+/u)).toBe(false)
})

test('no regular expression of ours takes more than twice as long for twice as much, and none looks far back', async () => {
  const found: Found[] = []
  for (const file of files) {
    const { literal, made } = expressionsIn(file)
    found.push(...literal)
    const loaded = made === 0 ? [] : await madeBy(file)
    expect(loaded.length, `${file}: put expressions together where the module is loaded`).toBe(made)
    found.push(...loaded)
  }
  expect(found.length).toBeGreaterThan(200)
  expect(found.filter(({ expression }) => looksFarBack(expression)).map(({ place }) => place)).toEqual([])
  expect(found.flatMap(shown)).toEqual([])
}, 120_000)
