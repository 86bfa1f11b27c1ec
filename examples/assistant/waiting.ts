import type { Session, WrappedTool } from '@remit/client'
import { inWords, type Order } from './orders.ts'
import type { Bought, Quote } from './tools.ts'
import { problemOf, resultOf } from './words.ts'

export interface ConditionalOrder extends Order {
  /** Dollars. */
  readonly below: number
}

/** Orders that wait in the background for a price. In this process only: they end with it. */
export interface WaitingOrders {
  /** Looks at the price once, so that the account is connected while the person is here; then waits. */
  add(order: ConditionalOrder, session: Session): Promise<object>
  /** Resolves once none waits any more. */
  settled(): Promise<void>
}

export interface WaitingDeps {
  readonly quote: WrappedTool<{ readonly symbol: string }, Quote>
  readonly buy: WrappedTool<Order, Bought>
  readonly say: (text: string) => void
  /** Between two looks. */
  readonly pause: (signal: AbortSignal) => Promise<unknown>
  readonly signal: AbortSignal
}

/** The person is asked at the last mile: when the price is there, not when they speak of it. */
export function createWaitingOrders({ quote, buy, say, pause, signal }: WaitingDeps): WaitingOrders {
  const open = new Set<Promise<void>>()

  async function follow({ below, ...order }: ConditionalOrder, session: Session): Promise<void> {
    try {
      for (;;) {
        const { symbol, ...found } = await quote(order, session, { signal })
        if ('price' in found && found.price < below) {
          say(`${symbol} is at ${found.price.toFixed(2)}, below ${below.toFixed(2)}: ${inWords(order)}?`)
          break
        }
        await pause(signal)
      }
      say(resultOf(order, await buy(order, session, { signal })))
    } catch (error) {
      if (!signal.aborted) say(problemOf(error))
    }
  }

  return {
    async add(order, session) {
      const found = await quote(order, session, { signal })
      if (!('price' in found)) return { refused: `there is no share ${order.symbol}` }
      const following = follow(order, session).finally(() => open.delete(following))
      open.add(following)
      return { waits_for: `${order.symbol} below ${order.below}`, price_now: found.price }
    },
    async settled() {
      await Promise.all(open)
    },
  }
}
