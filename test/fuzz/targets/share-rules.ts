import assert from 'node:assert/strict'
import { isAllowed, parseRule, ruleBut, ruleFor, ruleKey } from '../../../src/sources/kinds/smb/descriptor.ts'
import { assertLinear, textOf } from '../oracles.ts'

/** Nobody is let in whom no entry names: a rule that cannot be read whole is refused instead. */
export async function fuzz(bytes: Uint8Array): Promise<void> {
  const text = textOf(bytes)
  const rule = readRule(text)
  await assertLinear(bytes, (all) => readRule(textOf(all)))
  if (rule === undefined) return
  assert.equal(isAllowed(rule, { holds: () => false }), false)
  // Whom a denial may name as well is let in to no more.
  const everybody = (): boolean => true
  if (isAllowed(rule, { holds: (sid) => sid === 'S-1-1-0', denies: everybody }))
    assert.ok(isAllowed(rule, { holds: (sid) => sid === 'S-1-1-0' }))
  const again = readRule(text)
  assert.ok(again !== undefined && ruleKey(again) === ruleKey(rule))
  for (const { sid } of rule.entries) assert.match(sid, /^S-[\d-]+$/)
  assert.notEqual(ruleKey(ruleBut(rule, ['S-1-5-21-1'])), ruleKey(ruleFor(['S-1-5-21-1'])))
}

function readRule(text: string) {
  try {
    return parseRule(text)
  } catch (error) {
    // It has no class of its own: every refusal of it begins so.
    if (error instanceof Error && error.message.startsWith('Its permissions ')) return undefined
    throw error
  }
}
