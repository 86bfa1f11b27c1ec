import { expectTypeOf, test } from 'vitest'
import type { DecisionEvent } from '../src/decision-event.ts'
import type { EventName } from '../src/events.ts'

test('an event on record has a name by which the record can be asked, and each such name has an event', () => {
  expectTypeOf<DecisionEvent['event']>().toEqualTypeOf<EventName>()
})
