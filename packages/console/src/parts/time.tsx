/** A time of the service, in UTC: whoever compares it with a log elsewhere need not reckon. */
export const Time = ({ at }: { readonly at: string }) => (
  <time dateTime={at} title={at}>
    {at.replace('T', ' ').replace(/(\.\d{3})?\d*Z$/, '$1')}
  </time>
)
