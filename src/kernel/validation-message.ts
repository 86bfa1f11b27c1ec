import { visible } from '@remit/contract/text'
import { z } from 'zod'

/**
 * The first thing that is wrong with what somebody sent: its path, and what it has to be. Before all a name
 * that is not known: misspelt, it is also why another is missing. Names that the sender made up are cut at
 * 200 characters, and what nobody can see in them stands as its number, `⟨U+0000⟩`: the path goes into
 * answers, logs and rows.
 */
export function firstIssue({ issues }: z.ZodError): {
  readonly path: readonly string[]
  readonly says: string
} {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]
  if (issue?.code === 'unrecognized_keys')
    return { path: pathOf([...issue.path, issue.keys[0] ?? '']), says: 'This member is not known.' }
  return { path: pathOf(issue?.path ?? []), says: issue?.message ?? 'Wrong.' }
}

const nameLengthMax = 200

const pathOf = (path: readonly PropertyKey[]): readonly string[] =>
  path.map((name) => visible(String(name).slice(0, nameLengthMax)))

// Zod's own words are about its parser ("expected number, received NaN"); who reads them sent a body or made
// a setting, and wants to know what it takes. A schema's own words go before these; what is not here keeps
// Zod's.
z.config({ customError: saysOf })

function saysOf(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : kinds[issue.expected]
    case 'invalid_value':
      return `must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map(String).join(', ')}`
    case 'too_small':
      return `must ${bound(issue, issue.inclusive === false ? 'more than' : 'at least', issue.minimum)}`
    case 'too_big':
      return `must ${bound(issue, issue.inclusive === false ? 'less than' : 'at most', issue.maximum)}`
    case 'invalid_format':
      return formats[issue.format]
    default:
      return undefined
  }
}

function bound({ origin }: { readonly origin: string }, how: string, limit: number | bigint): string {
  const unit = units[origin]
  return unit === undefined ? `be ${how} ${limit}` : `have ${how} ${limit} ${unit}${limit === 1 ? '' : 's'}`
}

const kinds: Readonly<Record<string, string>> = {
  string: 'must be a string',
  number: 'must be a number',
  int: 'must be a whole number',
  boolean: 'must be true or false',
  array: 'must be a list',
  object: 'must be an object',
  record: 'must be an object',
}

const units: Readonly<Record<string, string>> = { string: 'character', array: 'member', object: 'member' }

const formats: Readonly<Record<string, string>> = {
  datetime: 'must be a time with its zone, such as 2026-11-01T00:00:00Z',
  base64: 'must be base64',
}
