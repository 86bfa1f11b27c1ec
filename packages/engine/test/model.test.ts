import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { JsonObject } from '../src/core/condition-values.ts'
import { findWeightedProblems, graphOf } from '../src/core/model-graph.ts'
import { compileModel, FgaError } from '../src/index.ts'
import { publishedFolder } from './support/matrix.ts'
import { createStore, parseDsl, serverTarget } from './support/target.ts'

const files = ['dsl-semantic-validation-cases.yaml', 'dsl-syntax-validation-cases.yaml'].map((file) =>
  join(publishedFolder, file),
)
const hasCases = files.every((file) => existsSync(file))

interface Case {
  readonly name: string
  readonly dsl: string
  readonly expected_errors?: readonly unknown[]
}

/** Undefined when the DSL itself cannot be read. */
function parseOrSkip(dsl: string): JsonObject | undefined {
  try {
    return parseDsl(dsl)
  } catch (error) {
    if (error instanceof Error) return undefined
    throw error
  }
}

function verdictOf(model: JsonObject): string {
  try {
    compileModel(model)
    return 'accepted'
  } catch (error) {
    if (error instanceof FgaError) return error.code
    throw error
  }
}

describe('model validation', () => {
  const [semantic = [], syntax = []] = (hasCases ? files : []).map((file): readonly Case[] =>
    parse(readFileSync(file, 'utf8')),
  )
  const read = [...semantic, ...syntax].map((one) => ({ ...one, model: parseOrSkip(one.dsl) }))

  test.skipIf(!hasCases)('finds all published DSL cases (REMIT_SHARED)', () => {
    expect([semantic.length, syntax.length]).toEqual([91, 81])
  })

  test.skipIf(!hasCases)('reads the DSL exactly where its published cases say so (REMIT_SHARED)', () => {
    const wrong = syntax.filter(
      ({ dsl, expected_errors: errors = [] }) => (parseOrSkip(dsl) === undefined) !== errors.length > 0,
    )
    expect(wrong.map(({ name }) => name)).toEqual([])
  })

  test.skipIf(serverTarget() === undefined || !hasCases)(
    'accepts and refuses the published DSL cases as the real server does (OPENFGA_TEST_URL)',
    async () => {
      const server = serverTarget()
      if (server === undefined) throw new Error('no server')
      const store = await createStore(server)
      const differences: string[] = []
      const verdicts: string[] = []
      for (const { name, model } of read) {
        if (model === undefined) continue
        const answer = await server.call('POST', `${store}/authorization-models`, model)
        const theirs = answer.status === 201 ? 'accepted' : String(answer.body['code'])
        const mine = verdictOf(model)
        verdicts.push(mine)
        if (mine !== theirs) differences.push(`${name}: engine ${mine}, server ${theirs} ${answer.text}`)
      }
      const unread = read.filter(({ model }) => model === undefined).length
      const accepted = verdicts.filter((verdict) => verdict === 'accepted').length
      console.log(
        `${read.length} cases: ${unread} no DSL, ${accepted} accepted, ${verdicts.length - accepted} refused`,
      )
      expect(differences).toEqual([])
    },
  )

  test.each([
    ['x < y', 'accepted'],
    ['x < z', 'invalid_authorization_model'],
    ['x + y', 'invalid_authorization_model'],
    ['x == s', 'invalid_authorization_model'],
    ['x <', 'invalid_authorization_model'],
    ['s in l && l.exists(e, e == s)', 'accepted'],
    ['s.nope()', 'invalid_authorization_model'],
    ['t + duration("1h") > t', 'accepted'],
    ['ip.in_cidr("10.0.0.0/8") && ip != ipaddress("10.0.0.1")', 'accepted'],
    ['m.key == "a" && m["b"] == "c"', 'accepted'],
  ])('judges the condition %s: %s', (expression, expected) => {
    const kinds = { x: 'INT', y: 'INT', s: 'STRING', t: 'TIMESTAMP', ip: 'IPADDRESS' }
    const plain = Object.entries(kinds).map(([name, kind]) => [name, { type_name: `TYPE_NAME_${kind}` }])
    const generic = (kind: string): JsonObject => ({
      type_name: `TYPE_NAME_${kind}`,
      generic_types: [{ type_name: 'TYPE_NAME_STRING' }],
    })
    const parameters = { ...Object.fromEntries(plain), l: generic('LIST'), m: generic('MAP') }
    const model = {
      schema_version: '1.1',
      type_definitions: [{ type: 'user' }],
      conditions: { cond: { name: 'cond', expression, parameters } },
    }
    expect(verdictOf(model)).toBe(expected)
  })
})

describe('what the weighted-graph engine refuses', () => {
  const problems = (relations: string): string[] =>
    findWeightedProblems(
      graphOf(
        compileModel(
          parseDsl(
            `model\n  schema 1.1\ntype user\ntype bot\ntype team\n  relations\n    define member: [user]\ntype folder\n  relations\n${relations}`,
          ),
        ).ast,
      ),
    ).map(({ rule, relation }) => `${relation} ${rule}`)

  test('nothing of a model that recurses only through unions', () => {
    expect(
      problems(
        '    define parent: [folder]\n    define blocked: [user]\n    define viewer: [user] or viewer from parent\n    define reader: viewer but not blocked',
      ),
    ).toEqual([])
  })

  test('recursion through an exclusion or an intersection', () => {
    expect(
      problems(
        '    define parent: [folder]\n    define blocked: [user]\n    define viewer: ([user] or viewer from parent) but not blocked',
      ),
    ).toEqual(['folder#viewer cycle-through-operator'])
  })

  test('a parent type without the relation', () => {
    expect(
      problems('    define parent: [folder, team]\n    define viewer: [user] or viewer from parent'),
    ).toEqual(['folder#viewer parent-lacks-relation'])
  })

  test('operands that no subject can satisfy together', () => {
    expect(problems('    define a: [user]\n    define b: [bot]\n    define both: a and b')).toEqual([
      'folder#both operands-without-common-type',
    ])
  })
})

describe('a model of which relations name each other over many ways', () => {
  const chain = (count: number, operands: (at: number) => string): JsonObject =>
    parseDsl(
      `model\n  schema 1.1\ntype user\ntype document\n  relations\n    define r0: [user]\n${Array.from({ length: count }, (_, at) => `    define r${at + 1}: ${operands(at)}\n`).join('')}`,
    )

  test('is compiled and planned looking once into each: forty lines of two ways are two to the fortieth', () => {
    const model = compileModel(chain(40, (at) => `r${at} or r${at}`))
    expect(model.types.get('document')?.get('r40')?.strategy('user').reachable).toBe(true)
    expect(compileModel(chain(2_000, (at) => `[user] or r${at}`)).types.size).toBe(2)
  })
})

test('a rule that names the same types many times costs by its length, not by its square', () => {
  const users = (first: number) => `[${Array.from({ length: 40 }, (_, at) => `u${first + at}`).join(', ')}]`
  const types = Array.from({ length: 80 }, (_, at) => `type u${at}`).join('\n')
  const wide = (leaf: string, leaves: number) =>
    `(${Array.from({ length: leaves }, () => leaf).join(' or ')})`
  const cost = (leaves: number): number => {
    const rule = `define x: ${wide('a', leaves)} and ${wide('b', leaves)}`
    const json = parseDsl(
      `model\n  schema 1.1\n${types}\ntype doc\n  relations\n    define a: ${users(0)}\n    define b: ${users(40)}\n    ${rule}\n`,
    )
    const before = process.threadCpuUsage()
    compileModel(json)
    const { user, system } = process.threadCpuUsage(before)
    return user + system
  }
  // The least of fifteen: whatever else the machine does only adds.
  const least = (leaves: number): number => Math.min(...Array.from({ length: 15 }, () => cost(leaves)))
  least(200)
  expect(least(800) / least(200)).toBeLessThan(10)
})
