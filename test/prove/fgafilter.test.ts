import { describe, expect, test } from 'vitest'
import { native, needsAuth0, needsOpenfgaProgram } from '../support/native.ts'
import { fgaFilterAdapter } from './fgafilter.ts'
import { openReaders } from './readers.ts'
import { findingsOf, proveSmall, remembered, statesOf, timeout, toldBy } from './small.ts'

const folder = native.auth0 ?? ''

describe("of a search behind Auth0's FGAFilter", { timeout, ...needsOpenfgaProgram, ...needsAuth0 }, () => {
  test('nothing comes that may not; what may be read is lost behind what may not, and that tells what is hidden', async () => {
    await using readers = await openReaders()
    const report = await proveSmall(fgaFilterAdapter({ folder, readers, fetched: 10 }))
    expect(findingsOf(report)).toEqual([
      'Behind a crowd of hidden documents one that may be read was not found.',
      ...toldBy(['order', 'scores', 'size', 'what is found', 'wording']),
    ])
    expect(statesOf(report)).toEqual({
      leak: 'held',
      // What the search does not fetch nobody is shown: of that it knows nothing, and `crowd` does.
      completeness: 'held',
      'odd-questions': 'held',
      strangers: 'held',
      // By its default it asks with higher consistency.
      revocation: 'held',
      pending: 'held',
      crowd: 'broken',
      twins: 'broken',
      'by-id': 'not_tried',
      afterwards: 'held',
      'hidden-words': 'held',
    })
    expect(report.left).toEqual([])
  })

  test('asked with less consistency, what was taken away comes while OpenFGA remembers', async () => {
    await using readers = await openReaders()
    const adapter = fgaFilterAdapter({ folder, readers, fetched: 10, consistency: 'MINIMIZE_LATENCY' })
    const report = await proveSmall(adapter, { only: ['leak', 'revocation', 'pending'] })
    expect(findingsOf(report)).toEqual(remembered)
    expect(statesOf(report)).toEqual({
      leak: 'held',
      revocation: 'broken',
      pending: 'held',
      'hidden-words': 'broken',
    })
  })
})
