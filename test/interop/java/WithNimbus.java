import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.RSAKey;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.oauth2.sdk.*;
import com.nimbusds.oauth2.sdk.auth.PrivateKeyJWT;
import com.nimbusds.oauth2.sdk.device.*;
import com.nimbusds.oauth2.sdk.dpop.*;
import com.nimbusds.oauth2.sdk.http.*;
import com.nimbusds.oauth2.sdk.id.*;
import com.nimbusds.oauth2.sdk.pkce.*;
import com.nimbusds.oauth2.sdk.token.*;
import com.nimbusds.oauth2.sdk.tokenexchange.TokenExchangeGrant;
import com.nimbusds.openid.connect.sdk.*;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import com.nimbusds.openid.connect.sdk.validators.IDTokenValidator;
import java.net.*;
import java.util.*;
import java.util.concurrent.Callable;
import net.minidev.json.JSONObject;

/** Nimbus as it comes, on Java's own HTTP client, which prefers HTML. JSON lines out, what the person did in. */
public class WithNimbus {
  static final Scanner heard = new Scanner(System.in);
  static String api, client;
  static URI callback;
  static RSAKey key;
  static OIDCProviderMetadata server;

  static void say(Object... said) {
    var members = new LinkedHashMap<String, Object>();
    for (int at = 0; at < said.length; at += 2) members.put((String) said[at], said[at + 1]);
    System.out.println(JSONObject.toJSONString(members));
  }

  static String hear(Object... said) {
    say(said);
    return heard.nextLine();
  }

  static PrivateKeyJWT proof() throws Exception {
    var at = server.getTokenEndpointURI();
    return new PrivateKeyJWT(new ClientID(client), at, JWSAlgorithm.RS256, key.toPrivateKey(), null, null);
  }

  /** A key that tokens are bound to (RFC 9449), and the last nonce that a server named. */
  static class Bound {
    final DPoPProofFactory proofs;
    Nonce nonce;

    Bound() throws Exception {
      proofs = new DefaultDPoPProofFactory(new ECKeyGenerator(Curve.P_256).generate(), JWSAlgorithm.ES256);
    }
  }

  /** Sends what is made anew for each try; where the server names a nonce, once more with it. */
  static HTTPResponse send(Bound bound, AccessToken token, Callable<HTTPRequest> made) throws Exception {
    for (boolean isLast = bound == null; ; isLast = true) {
      var request = made.call();
      if (bound != null)
        request.setDPoP(
            bound.proofs.createDPoPJWT(request.getMethod().name(), request.getURI(), token, bound.nonce));
      var response = request.send();
      var named = bound == null ? null : response.getDPoPNonce();
      if (isLast || named == null || named.equals(bound.nonce) || response.indicatesSuccess()) return response;
      bound.nonce = named;
    }
  }

  static TokenResponse token(Bound bound, AuthorizationGrant grant, String... scope) throws Exception {
    var scopes = scope.length == 0 ? null : new Scope(scope);
    var resources = scopes == null ? null : List.of(new URI(api));
    var to = server.getTokenEndpointURI();
    return OIDCTokenResponseParser.parse(
        send(bound, null, () -> new TokenRequest(to, proof(), grant, scopes, resources, null).toHTTPRequest()));
  }

  static HTTPResponse retrieve(Bound bound, AccessToken token, String authorization) throws Exception {
    return send(
        bound,
        token,
        () -> {
          var request = new HTTPRequest(HTTPRequest.Method.POST, new URL(api + "/retrieve"));
          request.setAuthorization(authorization);
          request.setContentType("application/json");
          request.setBody("{\"query\":\"travel budget\"}");
          return request;
        });
  }

  static int found(Bound bound, AccessToken token) throws Exception {
    return retrieve(bound, token, token.toAuthorizationHeader()).getStatusCode();
  }

  static boolean isActive(AccessToken token) throws Exception {
    var request = new TokenIntrospectionRequest(server.getIntrospectionEndpointURI(), proof(), token);
    return TokenIntrospectionResponse.parse(request.toHTTPRequest().send()).toSuccessResponse().isActive();
  }

  static int revoke(Token token) throws Exception {
    var request = new TokenRevocationRequest(server.getRevocationEndpointURI(), proof(), token);
    return request.toHTTPRequest().send().getStatusCode();
  }

  static String refusal(TokenResponse response) {
    return response.indicatesSuccess() ? "it worked" : response.toErrorResponse().getErrorObject().getCode();
  }

  record SignedIn(AuthorizationCodeGrant code, OIDCTokenResponse response, String subject) {
    AccessToken access() {
      return response.getOIDCTokens().getAccessToken();
    }
  }

  /** The person signs in by a pushed request (RFC 9126) and a code; the ID token is validated. */
  static SignedIn signIn(Bound bound) throws Exception {
    var verifier = new CodeVerifier();
    var state = new State();
    var nonce = new Nonce();
    var scope = new Scope("openid", "docs.search");
    var asked =
        new AuthenticationRequest.Builder(new ResponseType("code"), scope, new ClientID(client), callback)
            .state(state)
            .nonce(nonce)
            .codeChallenge(verifier, CodeChallengeMethod.S256)
            .resource(new URI(api))
            .build();
    var to = server.getPushedAuthorizationRequestEndpointURI();
    var pushed =
        PushedAuthorizationResponse.parse(
            send(bound, null, () -> new PushedAuthorizationRequest(to, proof(), asked).toHTTPRequest()));
    var page =
        new AuthorizationRequest.Builder(pushed.toSuccessResponse().getRequestURI(), new ClientID(client))
            .endpointURI(server.getAuthorizationEndpointURI())
            .build();
    var back = AuthenticationResponseParser.parse(new URI(hear("open", page.toURI().toString()))).toSuccessResponse();
    if (!back.getState().equals(state) || !back.getIssuer().equals(server.getIssuer())) throw new Exception("mixed up");
    var code = new AuthorizationCodeGrant(back.getAuthorizationCode(), callback, verifier);
    var response = (OIDCTokenResponse) token(bound, code);
    var keys = server.getJWKSetURI().toURL();
    var validator = new IDTokenValidator(server.getIssuer(), new ClientID(client), JWSAlgorithm.RS256, keys);
    var claims = validator.validate(response.getOIDCTokens().getIDToken(), nonce);
    return new SignedIn(code, response, claims.getSubject().getValue());
  }

  static void withBearerTokens() throws Exception {
    var first = signIn(null);
    var access = first.access();
    var scope = access.getScope().toString();
    say("shows", "sign-in, PAR, ID token", "signed_in", first.subject(), "scope", scope);
    say("shows", "retrieve", "found", found(null, access));
    say("shows", "introspection", "active", isActive(access));
    say("shows", "revocation", "status", revoke(access), "found", found(null, access), "active", isActive(access));
    say("shows", "sign-in", "again", refusal(token(null, first.code())));
  }

  static void withBoundTokens() throws Exception {
    var bound = new Bound();
    var first = signIn(bound);
    var access = first.access();
    say("shows", "DPoP", "type", access.getType().getValue(), "found", found(bound, access));
    // Whoever has the token alone: with a key of their own, and with none.
    var thief = retrieve(new Bound(), access, access.toAuthorizationHeader());
    var bare = retrieve(null, null, "Bearer " + access.getValue());
    say("shows", "DPoP", "thief", thief.getStatusCode(), "told", challenge(thief), "bare", bare.getStatusCode());
    var refresh = new RefreshTokenGrant(first.response().getOIDCTokens().getRefreshToken());
    var renewed = token(bound, refresh).toSuccessResponse().getTokens();
    say("shows", "refresh", "found", found(bound, renewed.getAccessToken()));
    revoke(renewed.getRefreshToken());
    var next = new RefreshTokenGrant(renewed.getRefreshToken());
    say("shows", "revocation", "refused", refusal(token(bound, next)));
  }

  static String challenge(HTTPResponse response) throws Exception {
    return DPoPTokenError.parse(response.getWWWAuthenticate()).getCode();
  }

  /** A person's own program on a device hands the agent a token that is for it; the agent exchanges it for the API. */
  static void withDevice(String program, String agent) throws Exception {
    var parameters = Map.of("resource", List.of(agent));
    var asked =
        new DeviceAuthorizationRequest(
            server.getDeviceAuthorizationEndpointURI(), new ClientID(program), new Scope("docs.search"), parameters);
    var begun = DeviceAuthorizationResponse.parse(asked.toHTTPRequest().send()).toSuccessResponse();
    hear("device", begun.getVerificationURI().toString(), "code", begun.getUserCode().getValue());
    var poll =
        new TokenRequest(
            server.getTokenEndpointURI(), new ClientID(program), new DeviceCodeGrant(begun.getDeviceCode()), null);
    var handed = TokenResponse.parse(poll.toHTTPRequest().send()).toSuccessResponse().getTokens().getAccessToken();
    say("shows", "device", "found", found(null, handed));
    var exchange = new TokenExchangeGrant(handed, TokenTypeURI.ACCESS_TOKEN);
    var access = token(null, exchange, "docs.search").toSuccessResponse().getTokens().getAccessToken();
    say("shows", "exchange", "found", found(null, access));
  }

  public static void main(String[] asked) throws Exception {
    api = asked[0];
    client = asked[1];
    callback = new URI(asked[2]);
    key = RSAKey.parse(asked[3]);
    server = OIDCProviderMetadata.resolve(new Issuer(api + "/oauth"));
    withBearerTokens();
    withBoundTokens();
    withDevice(asked[4], api + "/agents/" + asked[5]);
  }
}
