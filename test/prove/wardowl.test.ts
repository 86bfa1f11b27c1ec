import { describe, expect, test } from 'vitest'
import { needsOpenfgaProgram, needsPostgres, needsWardowl } from '../support/native.ts'
import { openReaders } from './readers.ts'
import { findingsOf, proveSmall, remembered, statesOf, timeout, toldBy } from './small.ts'
import { openWardowl } from './wardowl.ts'

const services = { ...needsPostgres, ...needsOpenfgaProgram, ...needsWardowl }
const mark = { signal: new AbortController().signal, traceparent: '' }

describe('of wardowl on Postgres', { timeout, ...services }, () => {
  test('nothing is found while OpenFGA lists what a person may read', async () => {
    await using readers = await openReaders()
    await using wardowl = await openWardowl({ readers })
    const report = await proveSmall(wardowl, { sizes: { k: 50 } })
    expect(findingsOf(report)).toEqual([])
    const states = Object.entries(statesOf(report))
    expect(states.filter(([, state]) => state !== 'held' && state !== 'broken')).toEqual([
      ['by-id', 'not_tried'],
    ])
    expect(report.left).toEqual([])
  })

  test('past the limit of that list it owns to what it loses; that tells what is hidden, and what was taken away comes while OpenFGA remembers', async () => {
    await using readers = await openReaders()
    // Of both its default is 1,000.
    await using wardowl = await openWardowl({
      readers,
      most: 10,
      authorizer: { list_objects_limit: 1 },
      retriever: { max_candidates: 10 },
    })
    // So that who reads nothing else is past it too.
    await wardowl.canary?.put({ id: 'one', title: '', text: 'one', readers: ['ida', 'otto'] }, mark)
    const only = ['leak', 'odd-questions', 'strangers', 'revocation', 'pending', 'crowd', 'twins']
    const report = await proveSmall(wardowl, { sizes: { k: 10 }, only })
    expect(findingsOf(report)).toEqual([
      ...remembered,
      ...toldBy(['order', 'scores', 'size', 'what is found', 'what it says of being complete', 'wording']),
    ])
    expect(statesOf(report)).toEqual({
      leak: 'held',
      'odd-questions': 'held',
      strangers: 'held',
      revocation: 'broken',
      pending: 'held',
      crowd: 'held',
      twins: 'broken',
      'hidden-words': 'broken',
    })
    expect(report.checks.find(({ id }) => id === 'crowd')?.notes).toEqual([
      expect.stringMatching(/^0 of 10 found behind /),
      'the answer said that it was incomplete',
    ])
    expect(report.left).toEqual([])
  })

  test('behind its cache what was taken away comes for as long as that says, and a new text that was never theirs', async () => {
    await using readers = await openReaders()
    const only = ['leak', 'revocation']
    {
      await using wardowl = await openWardowl({ readers, cached: 10 })
      expect(findingsOf(await proveSmall(wardowl, { sizes: { k: 50 }, only }))).toEqual(remembered)
    }
    await using brief = await openWardowl({ readers, cached: 1 })
    const later = await proveSmall(brief, { sizes: { k: 50, boundMs: 1_200 }, only })
    // On a machine that stands still for a second, nothing may be remembered when it is asked again.
    expect(statesOf(later)).toMatchObject({ leak: 'held', revocation: 'held' })
  })
})
