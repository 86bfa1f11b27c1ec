/** Of the service, as it says of itself. */
export const version = '0.1.0'
