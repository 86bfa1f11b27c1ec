import assert from 'node:assert/strict'
import { ScimError } from '../../../src/directory/scim/errors.ts'
import { matches, parseFilter } from '../../../src/directory/scim/filter.ts'
import { attributesOf } from '../../../src/directory/scim/schemas.ts'
import { assertLinear, textOf, unlessRefused } from '../oracles.ts'

const definitions = attributesOf('Users', { keyAttribute: 'userName' })
const person = {
  userName: 'anne',
  displayName: 'Anne',
  active: true,
  externalId: '7',
  name: { givenName: 'Anne', familyName: 'Aro' },
  emails: [
    { value: 'anne@example.com', type: 'work', primary: true },
    { value: 'a@home.test', type: 'home' },
  ],
}

/** A filter in parentheses means the same, its negation the opposite, and twice by `or` the same again. */
export async function fuzz(bytes: Uint8Array): Promise<void> {
  const text = textOf(bytes)
  const read = (filter: string) => unlessRefused([ScimError], () => parseFilter(filter, definitions))
  const filter = read(text)
  await assertLinear(bytes, (all) => read(textOf(all)))
  if (filter === undefined) return
  const isMatch = matches(filter, person)
  // Longer or deeper it may be refused; what is taken has to agree.
  for (const [wrapped, expected] of [
    [`(${text})`, isMatch],
    [`not (${text})`, !isMatch],
    [`(${text}) or (${text})`, isMatch],
    [`(${text}) and not (${text})`, false],
  ] as const) {
    const other = read(wrapped)
    if (other !== undefined) assert.equal(matches(other, person), expected, wrapped)
  }
}
