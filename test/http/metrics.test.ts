import { Hono } from 'hono'
import { expect, test, vi } from 'vitest'
import { createMetrics } from '../../src/http/metrics.ts'

test('a request takes no less than no time where the clock is set back meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  try {
    const metrics = createMetrics()
    const app = new Hono().use(metrics.observe).get('/x', (c) => {
      vi.setSystemTime(Date.now() - 3_600_000)
      return c.text('x')
    })
    expect((await app.request('/x')).status).toBe(200)
    const text = await metrics.registry.metrics()
    const sum = Number(/^remit_http_seconds_sum\{.*\} (.*)$/m.exec(text)?.[1])
    expect(sum).toBeGreaterThanOrEqual(0)
    expect(sum).toBeLessThan(60)
  } finally {
    vi.useRealTimers()
  }
})
