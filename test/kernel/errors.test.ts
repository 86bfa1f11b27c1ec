import { expect, test } from 'vitest'
import { AppError, isLogged, overloaded } from '../../src/kernel/errors.ts'

test('of what is asked for too much, the log has what says which line is full, and not each turn that is counted', () => {
  expect(isLogged(overloaded(10, 'Others are waiting for their texts, too.'))).toBe(true)
  expect(isLogged(overloaded())).toBe(false)
  expect(isLogged(new AppError('storage_unavailable'))).toBe(true)
  expect(isLogged(new AppError('not_found', { public: 'Not here.' }))).toBe(false)
})
