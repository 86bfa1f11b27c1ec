/** Of the service, as it says of itself. */
export const version = '1.2.1'
