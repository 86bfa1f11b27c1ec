/** Shares to buy: at most so many, at most for so much each. */
export interface Order {
  readonly symbol: string
  readonly quantity: number
  /** Dollars for each at most, `125.00`. */
  readonly limit: string
}

const dollars = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })

/** In cents first: prices are no fractions of two. */
export const inAll = ({ quantity, limit }: Order): string =>
  `${dollars.format((Math.round(Number(limit) * 100) * quantity) / 100)} USD`

/** As the person reads it. */
export const inWords = (order: Order): string =>
  `buy ${order.quantity} ${order.symbol} for you, at most ${inAll(order)}`

/** What the broker is shown that the person agreed to. */
export const detailOf = ({ symbol, quantity, limit }: Order) => ({
  type: 'trade_order',
  symbol,
  quantity,
  limit,
})
