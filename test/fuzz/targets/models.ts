import assert from 'node:assert/strict'
import { compileModel, FgaError } from '@remit/engine'
import { textOf as dslOf, readDsl } from '../../../src/authz/model/dsl.ts'
import { TextError } from '../../../src/authz/text-error.ts'
import { textOf, unlessRefused } from '../oracles.ts'

/** A model that is taken is written again as text, and read again it is the same model. */
export function fuzz(bytes: Uint8Array): void {
  const json = unlessRefused([TextError], () => readDsl(textOf(bytes)))
  if (json === undefined) return
  const model = unlessRefused([FgaError], () => compileModel(json))
  if (model === undefined) return
  const again = compileModel(readDsl(dslOf({ dsl: undefined, json })))
  assert.deepEqual(again.json, model.json)
}
