import assert from 'node:assert/strict'
import { nameKey } from '../../../src/directory/ldap/names.ts'
import { assertLinear, textOf } from '../oracles.ts'

/** Spelled with other letters, escapes or parts in another order, a name is the same name. */
export async function fuzz(bytes: Uint8Array): Promise<void> {
  const name = textOf(bytes)
  const key = nameKey(name)
  await assertLinear(bytes, (all) => nameKey(textOf(all)))
  if (key === undefined) return
  const inLetters = name.replaceAll(/[a-z]/g, (letter) => letter.toUpperCase())
  assert.equal(nameKey(inLetters), key)
  assert.equal(nameKey(` ${name}`), key)
  const parts = name.split('+')
  if (parts.length === 2 && !/[\\,;]/.test(name)) assert.equal(nameKey(`${parts[1]}+${parts[0]}`), key)
  assert.notEqual(nameKey(`cn=x,${name}`), key)
}
