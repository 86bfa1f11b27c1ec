import assert from 'node:assert/strict'
import type { Attributes } from '../../../src/directory/scim/attributes.ts'
import { ScimError } from '../../../src/directory/scim/errors.ts'
import { applyOperation, type PatchOperation, readPatch } from '../../../src/directory/scim/patch.ts'
import { attributesOf } from '../../../src/directory/scim/schemas.ts'
import { textOf, unlessRefused } from '../oracles.ts'

const definitions = attributesOf('Users', { keyAttribute: 'userName' })
const known = new Set(definitions.map(({ name }) => name))
const person: Attributes = {
  userName: 'anne',
  active: true,
  name: { givenName: 'Anne', familyName: 'Aro' },
  emails: [
    { value: 'anne@example.com', type: 'work', primary: true },
    { value: 'a@home.test', type: 'home' },
  ],
}

/** A change leaves known attributes alone, one primary address, and what was before as it was. */
export function fuzz(bytes: Uint8Array): void {
  const body = unlessRefused([SyntaxError], () => JSON.parse(textOf(bytes)) as unknown)
  const operations = unlessRefused([ScimError], () => readPatch(body, definitions)) ?? []
  const before = structuredClone(person)
  let attributes = person
  for (const operation of operations) {
    const next = applied(attributes, operation)
    if (next === undefined) return
    attributes = next
    // Without a filter, which may choose others the second time, once is as good as twice.
    if (operation.op !== 'add' && operation.filter === undefined)
      assert.deepEqual(applied(next, operation), next)
  }
  assert.deepEqual(person, before)
  for (const name of Object.keys(attributes)) assert.ok(known.has(name), name)
  const { emails } = attributes
  if (Array.isArray(emails)) assert.ok(emails.filter(({ primary }) => primary === true).length <= 1)
}

const applied = (attributes: Attributes, operation: PatchOperation): Attributes | undefined =>
  unlessRefused([ScimError], () => applyOperation(attributes, operation))
