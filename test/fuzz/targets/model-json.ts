import assert from 'node:assert/strict'
import { compileModel, FgaError } from '@remit/engine'
import { textOf, unlessRefused } from '../oracles.ts'

/** What the engine shows of a model that it took, it takes again as the same. */
export function fuzz(bytes: Uint8Array): void {
  const json = unlessRefused([SyntaxError], () => JSON.parse(textOf(bytes)) as unknown)
  if (typeof json !== 'object' || json === null) return
  const model = unlessRefused([FgaError], () => compileModel(json))
  if (model !== undefined) assert.deepEqual(compileModel(model.json).json, model.json)
}
